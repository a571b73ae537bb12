# A substitution in the current shell, which the grammar does not know.
current() {
  local x=${ echo 1; }
  echo "$x"
}

# Arrays.
arrays() {
  local -a list=("$@")
  declare -A map=([a]=1)
  printf '%s\n' "${list[@]:1}" "${map[a]}"
}

# Case and arithmetic.
cases() {
  case $1 in
    a | b) (( x += 1 )) ;;
    *) return 1 ;;
  esac
}
