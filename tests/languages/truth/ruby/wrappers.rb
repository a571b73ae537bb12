class Wrappers
  # Private.
  private def hidden(x)
    x + 1
  end

  # Under a signature.
  sig { params(x: Integer).returns(Integer) }
  def typed(x)
    x + 2
  end

  # Under one of several lines.
  sig do
    void
  end
  def lines
    run
  end

  # Of a module function.
  module_function def helper
    1
  end

  # Memoised and private.
  private memoize def slow
    2
  end

  private

  # Below a keyword.
  def below
    3
  end
end
