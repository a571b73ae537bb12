/// A class with **Markdown**.
/// Of two lines.
///
/// And more.
class Markdown {
    /// Says hello.
    /// @param name whom
    void hello(String name) { System.out.println(name); }

    /// Another paragraph, cut by a blank line.

    /// The comment that counts.
    void counts() { hello("x"); }

    //// Four slashes are ordinary.
    void four() { hello("x"); }

    /// Above an annotation.
    @Override
    public String toString() { return ""; }

    /** Old style. */
    /// New style.
    void both() { hello("x"); }
}
