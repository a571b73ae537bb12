/// Opaque.
func opaque() -> some View { Text("x") }

/// With several generics.
func zip<each A, B>(
    _ a: repeat each A,
    with b: B
) -> (repeat (each A, B)) {
    print(a)
}

/// A closure as its default.
func closure(_ f: (Int) -> Int = { $0 + 1 }) -> Int { f(1) }

/// Rethrows.
func again(_ f: () throws -> Void) rethrows { try f() }

/// Typed throws.
func typed() throws(MyError) -> Int { 1 }
