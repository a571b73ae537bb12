/* Outer. */
int outer(int a)
{
  /* A nested function of GNU C. */
  int nested(int b) { return a + b; }
  /* A statement. */
  return nested(1);
}

/* Indented with a struct. */
static
const struct config *
get_config
(
  int a,
  int b
)
{
  return 0;
}
