/** @file
 * Of the file.
 */
#pragma once

/** @name Group
 * @{ */
int grouped(int a) { return a; }
/** @} */

/// Above a macro call.
MACRO(a)
int below(int a) { return a; }

class P {
  /// Above access.
 public:
  int access(int a) { return a; }

  /// Above an attribute.
  [[nodiscard]] int attribute() { return 1; }

  int x = 1;  // of x
  int y() { return x; }

  /* Short. */ int z() { return x; }  // of z
  // Above w.
  int w() { return x; }
};

/// A forward declaration.
class Forward;

/// A struct and a variable.
struct V { int a; } v;

#if A
/// In a condition.
int conditional() { return 1; }
#endif
