#pragma once

namespace ns {

/// A class in a header of C++.
class Klass {
 public:
  /// Its method.
  int method() const { return 1; }
};

/// A template.
template <class T> T twice(T a) { return a + a; }

}  // namespace ns
