struct Literals {
    /// A string of several lines.
    func lines() -> String {
        return """
            one
              two
            """
    }

    /// A raw string.
    func raw() -> String { #"a "b" \n"# }
}
