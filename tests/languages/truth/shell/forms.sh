#!/bin/bash

# By name.
one() {
  echo 1
}

# By keyword.
function two {
  echo 2
}

# By both.
function three() {
  echo 3
}

# In a subshell.
four() (
  cd / && ls
)

# With the brace below.
five ()
{
  echo 5
}

# With a redirection.
six() {
  echo 6
} >&2

# With a test as its body.
seven() [[ -n $1 ]]

# With odd characters in its name.
eight::nine-ten() { echo 8; }

undocumented() {
  # Within the body.
  echo 9
}
