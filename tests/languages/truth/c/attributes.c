/** C23 attribute. */
[[nodiscard]] int nodiscard(void) { return 1; }

/** Aligned. */
_Alignas(16) static const int aligned(void) { return 1; }

/** Thread. */
_Noreturn void leave(void) { exit(1); }

/** A result in a macro. */
STATIC_INLINE(int) wrapped(void) { return 1; }

/** After it. */
int after(void) { return 1; }
