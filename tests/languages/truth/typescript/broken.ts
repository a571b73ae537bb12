/** Whole. */
function whole(): void { go(); }

class Broken {
  /** Whole in a broken class. */
  one() { return 1; }

  /** Broken. */
  two() { return (1; }

  /** Whole, too. */
  three() { return 3; }
}

/** The end. */
const end = () => { return 1; };
