/* Holds a comment in a string. */
const char *string(void)
{
  return "/* no */ // no"
         "\
continued";
}

#if 0
/* Switched off. */
int off(void) { return 1; }
#endif

/* Between functions; { */
int between(void) { return '"'; }

struct holder {
  /* A pointer in a struct. */
  int (*call)(int);
  /* An inner struct. */
  struct inner { int a; } in;
};
