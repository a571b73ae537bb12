namespace outer {
namespace inner {

/// A class.
class A {
  /// In a class in a class.
  class B {
    class C {
      /// Deep.
      int deep() {
        /// Local.
        struct Local {
          /// Of the local.
          int go() { return 1; }
        };
        return Local().go();
      }
    };
  };
};

}  // namespace inner
}  // namespace outer
