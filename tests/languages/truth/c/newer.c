/** Digit separators. */
int digits(void) { return 1'000'000; }

/** An enum with a type. */
enum small : unsigned char { A, B };

/** Case ranges. */
int ranges(int a) { switch (a) { case 1 ... 5: return 1; } return 0; }

/** Typeof and null. */
void *null(void) { typeof(nullptr) a = nullptr; return a; }

/** A label at the end. */
void label(int a) { if (a) goto end; end: }

/** After them. */
int after(void) { return 1; }
