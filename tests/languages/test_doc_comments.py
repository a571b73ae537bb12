"""Doc comments of every style as prose, with parameters and other sections apart."""

import textwrap
from random import Random

import pytest

from t2c_jax.languages.doc_comments import STYLES, Doc, clean_doc
from t2c_jax.languages.doc_comments.delimiters import comment_lines


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


@pytest.mark.parametrize(
    ("raw", "docstring"),
    [
        ("/** Adds.\n * @param a\n * @param b the second\n */", "Adds.\n\nParameters:\n  b: the second"),
        ("/** Adds.\n * @param a\n * @param b\n */", "Adds."),
        ("/** @return the sum\n * @param a the first */", "Returns the sum\n\nParameters:\n  a: the first"),
        ("/** Returns the\n * sum.\n * @return The sum */", "Returns the\nsum."),
        ("/** Adds both.\n * @return the sum */", "Adds both.\n\nReturns: the sum"),
        (
            "/** The sum.\n *\n * Of both.\n * @return the sum of both */",
            "The sum.\n\nOf both.\n\nReturns: the sum of both",
        ),
    ],
)
def test_a_docstring_says_nothing_twice(raw: str, docstring: str):
    assert clean_doc(raw, "javadoc").docstring == docstring


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


def clean(text: str) -> str:
    return textwrap.dedent(text).strip("\n")


CASES = [
    (
        "jsdoc",
        clean(
            """
            /**
             * Adds **two** numbers, see {@link Foo|the foo} and [the bar]{@link Bar}; uses `a_b_c` and snake_case_name.
             *
             * @param {Object<string, {a: number}>} opts - the options
             * @param {string} [opts.name='[x]'] The name.
             *   On two lines.
             * @param {number=} b the second
             * @returns {Promise<number>} the sum
             * @throws {TypeError} if not
             * @example <caption>Usage</caption>
             * add({ a: 1 })
             *   .then(x)
             * @private
             */
            """
        ),
        clean(
            """
            Adds two numbers, see the foo and the bar; uses `a_b_c` and snake_case_name.

            Parameters:
              opts: the options
              opts.name: The name. On two lines.
              b: the second
            Returns: the sum
            Raises:
              TypeError: if not

            Example:
                add({ a: 1 })
                  .then(x)
            """
        ),
    ),
    (
        "jsdoc",
        clean(
            """
            /**
             * @description
             * Adds.
             * @type {X}
             */
            """
        ),
        "Adds.",
    ),
    (
        "phpdoc",
        clean(
            """
            /**
             * Gets the {@see Foo} of the array.
             *
             * It's <b>nice</b>.
             *
             * @param array<int, string>|null $items The items
             * @param  string  ...$rest the rest
             * @param $x the x
             * @return array{a: int, b: string} the result
             * @throws \\InvalidArgumentException When it fails
             *
             * @ORM\\Column(type="string")
             */
            """
        ),
        clean(
            """
            Gets the `Foo` of the array.

            It's nice.

            Parameters:
              items: The items
              rest: the rest
              x: the x
            Returns: the result
            Raises:
              InvalidArgumentException: When it fails
            """
        ),
    ),
    (
        "phpdoc",
        "/** {@inheritdoc} */",
        "",
    ),
    (
        "kdoc",
        clean(
            """
            /**
             * Adds [a] and the [second][b] to [Foo.bar].
             *
             * ```
             * @param inside
             * ```
             * @param a the first
             * @param[b] the second
             * @property c cc
             * @return the sum
             * @throws IllegalStateException if
             * @sample foo.bar
             */
            """
        ),
        clean(
            """
            Adds `a` and the second to `Foo.bar`.

                @param inside

            Parameters:
              a: the first
              b: the second
              c: cc
            Returns: the sum
            Raises:
              IllegalStateException: if
            """
        ),
    ),
    (
        "doxygen",
        clean(
            """
            /**
             * @brief Adds two @c numbers, see \\ref foo "the foo".
             *
             * More text with \\p x and @a y.
             * \\code{.cpp}
             * int x = add(1, 2);
             * \\endcode
             * @param[in,out] a the first
             * @param b,c the others
             *
             * After a blank line.
             * @note Be careful.
             * @return the sum
             * @retval 0 success
             * @throws std::runtime_error if
             * @see foo
             */
            """
        ),
        clean(
            """
            Adds two `numbers`, see the foo.

            More text with `x` and `y`.

                int x = add(1, 2);

            After a blank line.

            Note: Be careful.

            Parameters:
              a: the first
              b,c: the others
            Returns: the sum 0 success
            Raises:
              std::runtime_error: if
            """
        ),
    ),
    (
        "doxygen",
        clean(
            """
            /// \\brief Adds.
            /// \\tparam T type
            /// \\return sum
            """
        ),
        clean(
            """
            Adds.

            Parameters:
              T: type
            Returns: sum
            """
        ),
    ),
    (
        "doxygen",
        clean(
            """
            /**
             * kmalloc_x() - allocate memory
             * @size: how many bytes
             * @flags: the type
             *   of memory
             *
             * The text.
             *
             * Return: pointer or NULL
             */
            """
        ),
        clean(
            """
            allocate memory

            The text.

            Parameters:
              size: how many bytes
              flags: the type of memory
            Returns: pointer or NULL
            """
        ),
    ),
    (
        "godoc",
        clean(
            """
            // Foo returns the [Bar] of x, see [the docs].
            // It has two lines:
            //
            //\tx := Foo(1)
            //\ty := 2
            //
            // # Heading
            //
            //   - one
            //   - two
            //
            // [the docs]: http://x.y
            //
            // Deprecated: use Baz.
            //go:noinline
            //nolint:foo
            """
        ),
        clean(
            """
            Foo returns the `Bar` of x, see the docs.
            It has two lines:

                x := Foo(1)
                y := 2

            Heading

            - one
            - two

            Deprecated: use Baz.
            """
        ),
    ),
    (
        "rustdoc",
        clean(
            """
            /// Returns the [`Foo`] of [bar](Self::bar), see [Baz].
            ///
            /// # Examples
            ///
            /// ```
            /// # use foo::Bar;
            /// let x = foo();
            /// ```
            ///
            /// # Errors
            ///
            /// Fails if *not*.
            ///
            /// # Panics
            ///
            /// Panics if x.
            ///
            /// # Safety
            ///
            /// Be safe.
            ///
            /// [Baz]: crate::Baz

            """
        ),
        clean(
            """
            Returns the `Foo` of bar, see `Baz`.

            Safety

            Be safe.

            Raises: Fails if not.
            Raises:
              panic: Panics if x.

            Example:
                let x = foo();
            """
        ),
    ),
    (
        "rustdoc",
        clean(
            """
            #[doc = " Adds\\n two."]
            #[doc = " three"]
            """
        ),
        clean(
            """
            Adds
            two.
            three
            """
        ),
    ),
    (
        "xmldoc",
        clean(
            """
            /// <summary>
            /// Adds <paramref name="a"/> to <see cref="List{T}.Add(T)"/> &amp; <c>b</c>; <see langword="null"/>.
            /// </summary>
            /// <remarks>
            /// <para>One.</para>
            /// <para>Two.</para>
            /// <list type="bullet"><item><description>x</description></item>
            /// <item><term>t</term><description>y</description></item></list>
            /// </remarks>
            /// <param name="a">the <see href="http://x">first</see></param>
            /// <returns>the sum</returns>
            /// <exception cref="T:System.ArgumentNullException">if null</exception>
            /// <example><code>
            /// int x = Add(1 &lt; 2);
            ///   y();
            /// </code></example>
            """
        ),
        clean(
            """
            Adds `a` to `Add(T)` & `b`; `null`.

            One.

            Two.

            - x
            - t: y

            Parameters:
              a: the first
            Returns: the sum
            Raises:
              ArgumentNullException: if null

            Example:
                int x = Add(1 < 2);
                  y();
            """
        ),
    ),
    (
        "xmldoc",
        '/// <inheritdoc cref="Foo"/>',
        "",
    ),
    (
        "xmldoc",
        "// just a comment",
        "just a comment",
    ),
    (
        "rdoc",
        clean(
            """
            # Adds +a+ to <tt>b</tt>, *bold* and _em_; see {the docs}[http://x.y].
            #
            #   add(1, 2)
            #
            # * one
            # * two
            #
            # @param a [Integer] the first
            # @param [String, nil] b the second
            #   on two lines
            # @option opts [Boolean] :x (nil) foo
            # @return [Integer] the sum
            # @raise [ArgumentError] if
            # @example Usage
            #   add(1)
            #     .foo
            # @api private
            """
        ),
        clean(
            """
            Adds `a` to `b`, bold and em; see the docs.

                add(1, 2)

            - one
            - two

            Parameters:
              a: the first
              b: the second on two lines
              opts.x: foo
            Returns: the sum
            Raises:
              ArgumentError: if

            Example:
                add(1)
                  .foo
            """
        ),
    ),
    (
        "rdoc",
        clean(
            """
            # :call-seq:
            #   add(a) -> b
            #
            # Adds.
            #--
            # hidden
            #++
            # Shown. :nodoc:
            """
        ),
        clean(
            """
            Adds.
            Shown. :nodoc:
            """
        ),
    ),
    (
        "rdoc",
        clean(
            """
            # Public: Adds.
            #
            # a - The first.
            #
            # Returns the sum.
            # frozen_string_literal: true
            """
        ),
        clean(
            """
            Adds.

            Returns the sum.

            Parameters:
              a: The first.
            """
        ),
    ),
    (
        "swift",
        clean(
            """
            /// Adds ``Foo/bar`` and **two**.
            ///
            /// - Parameters:
            ///   - a: The first
            ///     on two lines.
            ///   - b: The second.
            /// - Returns: The sum.
            /// - Throws: An error.
            /// - Note: Careful.
            ///
            /// More text.
            """
        ),
        clean(
            """
            Adds `Foo/bar` and two.

            Note: Careful.

            More text.

            Parameters:
              a: The first on two lines.
              b: The second.
            Returns: The sum.
            Raises: An error.
            """
        ),
    ),
    (
        "swift",
        clean(
            """
            /// Adds.
            /// - Parameter x: the x
            /// - Parameter y: the y
            """
        ),
        clean(
            """
            Adds.

            Parameters:
              x: the x
              y: the y
            """
        ),
    ),
    (
        "shell",
        clean(
            """
            #######################################
            # Cleanup files from the backup directory.
            # Globals:
            #   BACKUP_DIR
            # Arguments:
            #   $1 - the file
            #   None
            # Returns:
            #   0 if ok.
            #######################################
            """
        ),
        clean(
            """
            Cleanup files from the backup directory.

            Parameters:
              $1: the file
            Returns: 0 if ok.
            """
        ),
    ),
    (
        "shell",
        clean(
            """
            # @description Says hi.
            # @arg $1 string the name
            # @exitcode 0 ok
            # @stdout the greeting
            # @example
            #   hi you
            """
        ),
        clean(
            """
            Says hi.

            Parameters:
              $1: the name
            Returns: 0 ok the greeting

            Example:
                hi you
            """
        ),
    ),
]


GOOGLE = """
    Adds two numbers.

    :class:`Foo` at the start of a line.

    Args:
      a (int): the first
        number.
      *rest: more.

    Returns:
      int: the sum.

    Raises:
      TypeError: if not.

    Example:
      >>> add(1, 2)
      3
    """
NUMPY = """
    Adds two numbers.

    :class:`Foo` at the start of a line.

    Parameters
    ----------
    a : int
        the first
        number.
    *rest
        more.

    Returns
    -------
    int
        the sum.

    Raises
    ------
    TypeError
        if not.

    Examples
    --------
    >>> add(1, 2)
    3
    """
REST = """
    Adds two numbers.

    :class:`Foo` at the start of a line.

    :param int a: the first
      number.
    :param *rest: more.
    :returns: the sum.
    :raises TypeError: if not.
    """
EPYDOC = """
    Adds two numbers.

    :class:`Foo` at the start of a line.

    @param a: the first
      number.
    @type a: int
    @param rest: more.
    @return: the sum.
    @raise TypeError: if not.
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, REST, EPYDOC])
def test_docstrings_of_python(docstring: str):
    found = clean_doc(docstring, "python")
    assert found.description == "Adds two numbers.\n\n:class:`Foo` at the start of a line."
    assert {name.lstrip("*"): " ".join(text.split()) for name, text in found.parameters.items()} == {
        "a": "the first number.",
        "rest": "more.",
    }
    assert found.returns == "the sum."
    assert found.raises == {"TypeError": "if not."}
    assert [example.split("\n")[0] for example in found.examples] == [">>> add(1, 2)"] * len(found.examples)


@pytest.mark.parametrize(
    ("docstring", "description"),
    [
        ("One.\n\n    Two: three.\n\n    >>> f()\n    1", "One.\n\nTwo: three.\n\n>>> f()\n1"),
        ("One.\n\nArgs:\n  a\n b\nmore", "One."),  # sections that break their own rules
        ("One.\n\nNote:\n  Two.", "One.\n\nNote:\n  Two."),
        ("One.\n\nArgs:", "One.\n\nArgs:"),
        ("\n  Returns:\n    the sum", "Returns the sum"),
        ("One.\n\n    Examples\n    ========\n\n    >>> f()\n    1", "One."),
    ],
)
def test_descriptions_of_python(docstring: str, description: str):
    assert clean_doc(docstring, "python").description == description


@pytest.mark.parametrize(("style", "raw", "docstring"), CASES)
def test_styles(style: str, raw: str, docstring: str):
    assert clean_doc(raw, style).docstring == docstring


def test_every_style_is_tested():
    assert {style for style, _, _ in CASES} | {"c", "javadoc", "plain", "python"} == set(STYLES)


@pytest.mark.parametrize(
    ("style", "raw", "docstring"),
    [
        ("c", "// \\brief Infers the precision.\n// \\param[in] a the \\c number\n// \\return the status",
         "Infers the precision.\n\nParameters:\n  a: the `number`\nReturns: the status"),
        ("c", "/* \\internal \\returns the norm */", "Returns the norm"),
        ("doxygen", "/** \\internal Adds.\n * \\internal \\returns the sum */", "Adds.\n\nReturns: the sum"),
        ("c", "// Is \\n or \\return in it?\n// #a is %b.", "Is \\n or \\return in it?\n#a is %b."),
        ("c", "// @someone: is it **right**?", "@someone: is it **right**?"),
        ("c", "// The bytes of a tree.\n// TODO(b/1): count those\n//   of its nodes.\n//\n// It may be empty.",
         "The bytes of a tree.\n\nIt may be empty."),
        ("doxygen", "/// TODO: virtual.\n///\n/// Moves.\n/// XXX slow?\n/// \\return it", "Moves.\n\nReturns: it"),
        ("doxygen", "/// FIXME", ""),
        ("godoc", "// Lists what is TODO.\n//\n//\tTODO = 1", "Lists what is TODO.\n\n    TODO = 1"),
        ("phpdoc", '/** Escapes trailing "\\" in `a\\*b` and a\\*b. */', 'Escapes trailing "\\" in `a\\*b` and a*b.'),
        ("doxygen", "/// See [open](\n///   https://a.b) and [c].", "See open and [c]."),
        ("xmldoc", "/// <summary>One. <remarks>Two.</remarks></summary>", "One.\n\nTwo."),
        ("shell", "# $1 - the file\n# $@ - more\n# Runs it.", "Runs it.\n\nParameters:\n  $1: the file\n  $@: more"),
        ("rdoc", "######## @!group HELPERS\n# One.", "One."),
        ("rdoc", "# @!visibility private", ""),
        ("rdoc", "# Is **not** a [Future](Future), x**2.", "Is not a Future, x**2."),
        ("xmldoc", '/// <summary>See <see href="https://a.b">c.</summary>', "See c."),
        ("rdoc", "# One.\n#\n# ==== Parameters\n# a<String>:: the first\n# b:: more.\n#\n# Two.",
         "One.\n\nTwo.\n\nParameters:\n  a: the first\n  b: more."),
    ],
)  # fmt: skip
def test_what_real_comments_have(style: str, raw: str, docstring: str):
    assert clean_doc(raw, style).docstring == docstring


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "raw",
    ["", "\0", "/*", "/**", "*/", "{@", "/** {@code {{ */", "/** <pre> */", "///", "\ue0009\ue001", "/** @param */",
     "/// ```\n/// x", "/** [a](b */", "/** `a */", "/** " + "[" * 2000 + " */", "/** " + "*a" * 2000 + " */",
     "/** " + "{@link a " * 2000 + "}" * 2000, "/// " + "``" * 4000, "/// " + "__Parameters" * 2000,
     "/// <code>\n" * 2000, "/// ~~~\n" * 2000, "/// " + "<!-- <c> \\f$ ` " * 2000, "/** " + "a " * 50_000],
)  # fmt: skip
def test_nothing_raises(style: str, raw: str):
    assert isinstance(clean_doc(raw, style), Doc)


def test_a_block_is_read_at_once_as_line_by_line():
    random = Random(0)
    pieces = (" * ", " *", "\t*\t", "  ", "**", "*/", "word", "  more", "\t", "* *", "- x*", "", " ")
    for _ in range(3000):
        lines = ["".join(random.choices(pieces, k=random.randrange(4))) for _ in range(random.randrange(1, 6))]
        if random.random() < 0.6:  # as most are
            lines[1:] = [f" * {line}" for line in lines[1:]]
        raw = "\n".join(["/**" + lines[0], *lines[1:]]) + "*/"
        assert comment_lines(raw) == comment_lines(f" {raw}"), repr(raw)
