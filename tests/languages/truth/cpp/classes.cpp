/// A stack of things.
template <typename T, typename Alloc = std::allocator<T>>
class Stack final : public Base<T>, private detail::Other {
 public:
  /// A type.
  using value_type = T;

  /// Makes one.
  explicit Stack(int size) noexcept : size_(size), items_{new T[size]} {
    check();
  }

  /// By default.
  Stack() = default;

  /// Never.
  Stack(const Stack&) = delete;

  /// Ends it.
  virtual ~Stack() { delete[] items_; }

  /// Pure.
  virtual void pure() const = 0;

  /// Declared.
  int declared(int a);

  /** Compares. */
  bool operator==(const Stack& other) const { return size_ == other.size_; }

  /** Converts. */
  explicit operator bool() const { return size_ > 0; }

  /** Indexes. */
  T& operator[](int i) { return items_[i]; }

  /// A template within.
  template <typename U>
  static auto make(U&& u) -> decltype(u.f()) { return u.f(); }

  /// A friend.
  friend std::ostream& operator<<(std::ostream& out, const Stack& s) { return out << s.size_; }

 private:
  // Ordinary.
  void ordinary() override { check(); }

  int size_;  ///< its size
  T* items_;  //!< its items
  void after_trailing() { check(); }

  /// Inner.
  struct Inner {
    /// Within it.
    int go() const { return 1; }
  };
};
