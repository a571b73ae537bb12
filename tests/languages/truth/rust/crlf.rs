/// Windows
/// line ends.
#[test]
fn crlf() -> u8 {
    1
}
