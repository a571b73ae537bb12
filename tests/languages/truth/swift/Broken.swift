struct Broken {
    /// Whole.
    func one() -> Int { 1 }

    /// Broken.
    func two() -> Int { return 1 + }

    /// Whole, too.
    func three() -> Int { 3 }
}
