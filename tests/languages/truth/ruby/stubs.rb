class Stubs
  # Empty.
  def one
  end

  # Raises.
  def two
    raise NotImplementedError, "later"
  end

  # Raises something else.
  def three
    raise ArgumentError
  end

  # Raises after something else.
  def four
    log
    raise NotImplementedError
  end

  # On one line.
  def five; end
end
