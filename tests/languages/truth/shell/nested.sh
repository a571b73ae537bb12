if [ -t 1 ]; then
  # In a condition.
  color() { tput setaf "$1"; }
fi

# Outer.
outer() {
  # Inner.
  inner() {
    echo 1
  }
  inner
}
