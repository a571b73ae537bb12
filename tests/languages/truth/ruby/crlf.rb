# Windows.
class Crlf
  # One.
  # Two.
  def m
    1
  end
end
