/// A class with a macro.
class API Exported : public Base {
 public:
  /// Its method.
  int method() { return 1; }
};

/// A macro behind.
class EXPORT Plain {
 public:
  int a;
};

/// A function with a macro.
API_FUNC(int) wrapped(int a) { return a; }

/// After them.
int after(int a) { return a; }
