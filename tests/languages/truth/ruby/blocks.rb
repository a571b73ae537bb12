# Made by a call.
Point = Struct.new(:x, :y) do
  # The first member of a block.
  def length
    Math.hypot(x, y)
  end

  # The second.
  def to_s
    "#{x}, #{y}"
  end
end

describe "it" do
  # Helps.
  def helper
    1
  end
end
