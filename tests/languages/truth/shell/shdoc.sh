# @description Says hello.
#
# @arg $1 string The name.
# @exitcode 0 Always.
hello() {
  echo "Hello, $1"
}
