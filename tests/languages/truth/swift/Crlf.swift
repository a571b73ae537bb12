/// Windows.
struct Crlf {
    /// One.
    /// Two.
    func m() -> Int {
        return 1
    }
}
