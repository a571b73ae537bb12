/** Whole. */
function whole() { return 1; }

/** Broken. */
function broken() { return 1 +; }

/** Whole again. */
function again() { return 1; }

/** Ends early. */
function early() {
  if (1) {
}
