/// Outer.
enum Outer {
    /// Nested.
    struct Nested {
        /// Deep.
        func deep() -> Int {
            /// Within a function.
            func inner() -> Int { 1 }
            return inner()
        }
    }
}
