# Does nothing.
nothing() { :; }

# Is true.
yes() {
  true
}

# Does something.
something() { false; }
