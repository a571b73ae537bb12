mod m {
    /// No line end at the end.
    fn last() -> u8 { 1 }
}
/// Nothing below it.