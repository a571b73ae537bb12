# Counts lines.
main() {
  for file in "$@"; do
    [ -e "$file" ] || continue
    wc -l < "$file"
  done | sort -n
}

main "$@"
