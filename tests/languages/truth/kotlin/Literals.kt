class Literals {
    /** A raw string. */
    fun raw() = """
        one
          two
    """

    /** A template. */
    fun template(x: Int): String {
        return "${x + 1} $x"
    }
}
