class Heredocs
  # A squiggly one.
  def squiggly
    <<~TEXT
      one
        two
    TEXT
  end

  # A plain one.
  def plain
    <<TEXT
  one
TEXT
  end

  # A string of two lines.
  def lines
    "one
     two"
  end
end
