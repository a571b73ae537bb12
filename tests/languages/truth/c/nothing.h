/* Only macros and comments. */
#define A 1
/** A variable. */
extern int a;
