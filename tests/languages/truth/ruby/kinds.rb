# A module.
module Outer
  # A class, the first member of a module.
  class Kinds < Base
    # A method, the first member of a class.
    def one(a, b = 1, *rest, key:, other: 2, **options, &block)
      a + b
    end

    # A method of the class.
    def self.create; new(1); end

    class << self
      # In the singleton class.
      def build
        new(2)
      end
    end

    # An endless method.
    def size = @items.size

    # A predicate.
    def empty?
      size.zero?
    end

    # An operator.
    def ==(other)
      other.size == size
    end

    # A setter.
    def name=(value)
      @name = value
    end

    # A constant is no pair.
    LIMIT = 10

    # Nor is an accessor.
    attr_reader :name

    def undocumented
      1
    end
  end
end

# At the top.
def top(x)
  x + 1
end

# Nothing in it.
class Failure < StandardError; end
