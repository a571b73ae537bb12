#!/usr/bin/env ruby
# frozen_string_literal: true

# Far away.

def far
  1
end

# Of the constant.
X = 1
def after
  2
end

x = 1 # Behind code.
def behind
  3
end

# rubocop:disable Metrics/MethodLength
# Below a directive.
def directive
  4
end

# Above a directive.
# rubocop:disable Metrics/AbcSize
def above
  5
end

=begin
A block.
=end
def block
  6
end

# One paragraph.
#
# Another one.
def paragraphs
  7
end

def body
  # Within the body.
  8
end
