# Adds +a+ to <tt>b</tt>; see {the docs}[https://a.b].
#
#   add(1)
#
# @param a [Integer] the first
# @return [Integer] the sum
def add(a)
  a + 1
end

# :nodoc:
def hidden
  1
end

# @return [Integer] the size
def size
  2
end

# Public: By TomDoc.
#
# a - The first.
def tomdoc(a)
  a
end

##
# With two signs.
def two
  3
end
