class Broken
  # Whole.
  def one
    1
  end

  # Broken.
  def two
    1 + )
  end

  # Whole, too.
  def three
    3
  end
end
