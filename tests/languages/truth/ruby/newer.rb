# Pattern matching.
def match(config)
  case config
  in { name: String => name, age: Integer } if name.size > 1
    name
  in [Integer, *]
    nil
  end
end

# Forwards everything.
def forward(...)
  other(...)
end

# Anonymous arguments.
def anonymous(*, **, &)
  other(*, **, &)
end

# Uses it.
def uses(list) = list.map { it + 1 }

# With rescue.
def rescued
  open
rescue IOError => e
  nil
ensure
  close
end
