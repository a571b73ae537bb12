/// Explicit object.
struct Self {
  /// Deduces this.
  auto get(this auto&& self) { return self.a; }
  /// Three ways.
  auto operator<=>(const Self&) const = default;
  int a;
};

/// Designated.
Self designated() { return Self{.a = 2}; }

/// If consteval.
int evaluated() { if consteval { return 1; } else { return 2; } }

/// Static lambda.
int lambda() { auto f = [] static { return 1; }; return f(); }

/// Ranges.
int ranges(std::vector<int> v) { for (int i = 0; auto x : v | std::views::take(2)) i += x; return 0; }
