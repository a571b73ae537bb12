import Foundation

/// A class.
@objc
public final class Kinds<T>: Base, Thing where T: Hashable {
    /// A property is no pair.
    let size = 1

    /// Computed.
    var area: Int { return size * size }

    /// With a getter and a setter.
    var width: Int {
        get { return storage }
        set { storage = newValue }
    }

    /// Makes one.
    public init(a: Int) {
        self.a = a
    }

    /// Makes one, or none.
    convenience init?(name: String) {
        return nil
    }

    /// Ends one.
    deinit { close() }

    /// A method.
    func run(_ a: Int, with b: Int = 1) async throws -> Int {
        return a + b
    }

    /// A subscript.
    subscript(index: Int) -> Int {
        return items[index]
    }

    /// An operator.
    static func + (left: Kinds, right: Kinds) -> Kinds { return left }

    func undocumented() { print(1) }
}

/// A structure.
struct Point { var x: Int }

/// Values.
enum Color {
    case red, green

    /// Its name.
    func name() -> String { "red" }
}

/// A protocol.
protocol Thing {
    /// Without a body.
    func name() -> String
}

/// An actor.
actor Counter {
    /// Counts.
    func next() -> Int { value += 1; return value }
}

/// An extension is no pair.
extension Kinds {
    /// Its methods are.
    func extended() { print(2) }
}

/// An alias.
typealias Handler = (Int) -> Void

/// Nothing in it.
class Empty {}
