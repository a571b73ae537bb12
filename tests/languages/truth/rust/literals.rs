mod m {
    /// Raw strings.
    fn raw() -> &'static str {
        let a = r#"
        /// no
    "x""#;
        let b = "one \
                 two
        three";
        a
    }

    /// Lifetimes 'a are no characters.
    fn life<'a>(x: &'a str, c: char) -> &'a str { if c == '"' { x } else { "'" } }
}
