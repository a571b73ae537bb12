/// Windows.
int windows() {
  auto s = R"(
  a)";
  return 1;
}

struct S {
  /** A method. */
  int method() {
    auto s = R"x(
    ")" b)x";
    return 1;
  }
};
