class Stubs {
    /// Fails.
    func one() -> Int { fatalError("not implemented") }

    /// Empty.
    func two() {}

    /// Fails, after something else.
    func three() {
        print(3)
        fatalError("three")
    }
}
