"""Doc comments of every style as prose, with parameters and other sections apart."""

import textwrap

import pytest

from t2c_jax.languages.doc_comments import STYLES, Doc, clean_doc


def doc(style: str, raw: str) -> Doc:
    return clean_doc(textwrap.dedent(raw).strip("\n"), style)


def test_javadoc():
    found = doc(
        "javadoc",
        """
        /**
         * Returns the <b>first</b> {@code List<String>} of {@link Foo#bar(int, String) the bar}; see {@link #size()}.
         * <p>Second paragraph &amp; more:
         * <pre>{@code
         *   int x = a < b;
         *   @Override void f() {}
         * }</pre>
         * <ul>
         *   <li>one
         *   <li>two <code>a&lt;b</code>
         * </ul>
         *
         * @param a  the first,
         *           on two lines
         * @param <T> - the type
         * @return the {@literal a<b} sum
         * @throws IOException if there is none
         * @deprecated use {@link #other}
         * @since 1.2
         */
        """,
    )
    assert found.summary == "Returns the first `List<String>` of the bar; see `size()`."
    assert found.description.split("\n\n", 1)[1] == textwrap.dedent(
        """\
        Second paragraph & more:

            int x = a < b;
            @Override void f() {}

        - one
        - two `a<b`"""
    )
    assert found.parameters == {"a": "the first,\non two lines", "<T>": "the type"}
    assert found.returns == "the a<b sum"
    assert found.raises == {"IOException": "if there is none"}
    assert found.deprecated == "use `other`"


def test_docstring_has_sections_in_one_layout():
    raw = "/** Adds. @see b\n @param a the\n   first\n @return the sum\n @throws E\n */"
    assert clean_doc(raw, "javadoc").docstring == (
        "Adds. @see b\n\nParameters:\n  a: the first\nReturns: the sum\nRaises:\n  E:"
    )


def test_markdown_javadoc():
    found = doc(
        "javadoc",
        """
        /// Returns *the* [List] of `a<b>` and [the link](http://x.y/z).
        ///
        /// - one
        /// * two
        ///
        /// ```java
        /// @Foo int x;
        /// ```
        /// @param x the `x`
        """,
    )
    assert found.description == ("Returns the `List` of `a<b>` and the link.\n\n- one\n- two\n\n    @Foo int x;")
    assert found.parameters == {"x": "the `x`"}


@pytest.mark.parametrize(
    ("raw", "prose"),
    [
        ("/** @return the sum */", "Returns the sum"),
        ("/** @return Returns the sum */", "Returns the sum"),
        ("/** {@return the sum} */", "Returns the sum"),
        ("/** {@inheritDoc} */", ""),
        ("/** @see Foo */", ""),
        ("/**/", ""),
        ("/** */", ""),
        ("/** Unclosed {@code x", "Unclosed {@code x"),
        ("/**\r\n * One.\r\n * Two.\r\n */", "One.\nTwo."),
        ("/** A List<String> and a Map<K, V>. */", "A List<String> and a Map<K, V>."),
        ("/** If a < b && c > d. */", "If a < b && c > d."),
    ],
)
def test_short_javadoc(raw: str, prose: str):
    found = clean_doc(raw, "javadoc")
    assert found.description == prose
    assert bool(found.docstring) == bool(prose)


@pytest.mark.parametrize(
    ("raw", "prose"),
    [
        ("// ------\n// One\n//   two.\n// ------", "One\n  two."),
        ("/* ===== One ==== */", "One"),
        ("/***\n * One.\n *\n *\n * Two.\n ***/", "One.\n\nTwo."),
        ("/* One\n   two */", "One\ntwo"),
        ("/*\n * One\n */\n// two", "One\n\ntwo"),
        ("/*\n  List:\n  * a\n  b\n*/", "List:\n* a\nb"),
        ("# One\n#\n## two", "One\n\ntwo"),
        ("-- One\n--two", "One\ntwo"),
        ("=begin\nOne\n=end", "One"),
        ("//", ""),
    ],
)
def test_plain(raw: str, prose: str):
    assert clean_doc(raw, "plain").description == prose


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "raw",
    ["", "\0", "/*", "/**", "*/", "{@", "/** {@code {{ */", "/** <pre> */", "///", "\ue0009\ue001", "/** @param */",
     "/// ```\n/// x", "/** [a](b */", "/** `a */", "/** " + "[" * 2000 + " */", "/** " + "*a" * 2000 + " */"],
)  # fmt: skip
def test_nothing_raises(style: str, raw: str):
    assert isinstance(clean_doc(raw, style), Doc)
