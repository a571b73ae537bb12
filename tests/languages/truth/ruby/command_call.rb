# An endless method with a command call, which the grammar does not know.
def hello = puts "Hello"

# After it.
def after
  1
end
