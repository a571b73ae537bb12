# Prints the usage.
usage() {
  cat <<EOF
# not a comment
usage: x
EOF
}

# With tabs.
tabs() {
	cat <<-'EOF'
	one
	EOF
}

# A string of two lines.
lines() {
  echo "one
  # two"
}
