/* A macro before. */
API_EXPORT int exported(int a) { return a; }

/* A macro with arguments. */
ATTRIBUTE((noreturn)) void attribute(int a) { exit(a); }

/* A GNU attribute. */
__attribute__((noinline)) static int gnu(int a) { return a; }

/* A macro behind. */
int behind(int a) ATTR_PURE { return a; }

/* No function. */
FOREACH(x, list) { go(x); }

/* C++ in a file of C. */
class Klass { int a; };

/* A namespace. */
namespace ns { int a; }

/* After all of it. */
int after(int a) { return a; }
