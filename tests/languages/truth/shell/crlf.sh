# Windows.
# Two.
crlf() {
  echo 1
}
