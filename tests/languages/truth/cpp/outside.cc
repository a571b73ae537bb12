#include "stack.h"

namespace a::b {

// Defined outside.
template <typename T>
int Stack<T>::declared(int a) {
  return a;
}

/// A constructor outside.
Stack::Stack(int a)
    : a_(a),
      b_(0) {
  go();
}

/// A destructor outside.
Stack::~Stack() { go(); }

/// An operator outside.
Stack& Stack::operator=(const Stack& other) { return *this; }

/// A conversion outside.
Stack::operator int() const { return 1; }

namespace {
/// Anonymous.
std::unique_ptr<int> anonymous(const std::string& s, int&& r) { return nullptr; }
}  // namespace

}  // namespace a::b
