/* Whole. */
int whole(void) { return 1; }

/* Broken. */
int broken(void) { return 1 +; }

/* Whole again. */
int again(void) { return 2; }

/** Parenthesis. */
int parenthesis(int a { return a; }

/** The last. */
int last(void) { return 3; }
