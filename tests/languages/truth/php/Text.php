There is no opening tag here.

/** A function. */
function f() { return 1; }
--- truth
