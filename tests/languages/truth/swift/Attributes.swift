/// Under attributes.
@inlinable
@available(macOS 10.15, *)
public func one<T>(_ value: T) -> T where T: Equatable { return value }

/// On the same line.
@discardableResult func two() -> Int { return 2 }

@MainActor
/// After an attribute.
func three() { print(3) }

/// With attributes of parameters.
func four(@ViewBuilder content: @escaping () -> Void) { content() }
