/// Whole.
int whole() { return 1; }

class A {
  /// Whole in a class.
  int one() { return 1; }
  /// Broken in it.
  int two() { return 1 +; }
  /// Whole, too.
  int three() { return 3; }
};

/// Broken.
int broken() { return (1; }

/// The last.
int last() { return 2; }
