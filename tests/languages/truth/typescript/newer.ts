class Newer {
  /** An accessor. */
  static accessor count = 0;

  /** Satisfies. */
  ok() { return { a: 1 } satisfies Foo; }

  /** Using. */
  using() { using file = open(); return file; }
}

/** Variance. */
interface Variance<in out T> {
  /** Its method. */
  go(x: T): void;
}

/** After it. */
function after<const T>(x: T) { return x; }
