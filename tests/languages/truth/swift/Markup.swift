/// Adds ``Foo`` and *two*, see [the docs](https://a.b).
///
/// - Parameters:
///   - a: The first.
/// - Returns: The sum.
func add(a: Int) -> Int { return a + 1 }

/// - Returns: The size.
func size() -> Int { return 1 }

/// - Parameter a: Alone.
func alone(a: Int) { print(a) }

/**
 Without a gutter.

 More.
 */
func gutter() { print(2) }
