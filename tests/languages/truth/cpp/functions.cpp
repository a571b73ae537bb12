/// A constant function.
[[nodiscard]] constexpr auto square(auto x) -> int { return x * x; }

/// With a concept.
template <typename T>
  requires std::integral<T>
T constrained(T x) { return x; }

/// A concept.
template <typename T>
concept Hashable = requires(T a) { a.hash(); };

/// An alias.
using Map = std::map<std::string, int>;

/// An alias template.
template <typename T>
using Vec = std::vector<T>;

/// Of C.
extern "C" int of_c(void) { return 1; }

extern "C" {
/// In a block of C.
int in_block(void) { return 1; }
}

/// A specialisation.
template <>
int specialised<int>(int x) { return x; }

/// A literal.
constexpr long double operator""_km(long double x) { return x; }

/// An enum.
enum class Colour : unsigned char { Red, Green };

/// Try.
int tries(int a) try { return a; } catch (...) { return 0; }

/// A coroutine.
task<int> coroutine() { co_return 1; }

/// A variable with a lambda.
auto lambda = [](int a) { return a; };

/// Consteval.
consteval int ct(int a) { return a; }

/// A reference.
const int* const& reference(int (&a)[3]) { return a; }
