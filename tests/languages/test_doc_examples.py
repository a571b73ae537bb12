"""The examples in the doc comments of all languages but Python."""

import random

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.doc_comments import STYLES
from t2c_jax.languages.doc_comments.doc_examples import find_examples
from t2c_jax.languages.example_texts import example_text
from t2c_jax.languages.extractor import extractor_for


def extract(source, path, **config):
    extractor = extractor_for(path, ())
    return extractor.extract(source.encode(), path, CorpusConfig(kinds=("example",), text="docstring", **config))


# path: (source, (first line, last line, text, language, code) of each example)
EXAMPLES = {
    "A.java": (
        "class A {\n"
        "    /**\n"
        "     * Adds numbers. Call it with {@code two}.\n"
        "     *\n"
        "     * <p>Lists are added so, by <i>elements</i>:\n"
        "     *\n"
        "     * <pre>{@code\n"
        "     * List<Integer> all = add(a, b);\n"
        "     *   print(all);\n"
        "     * }</pre>\n"
        "     * <pre>\n"
        "     *   if (a &lt; b) { add(a); }\n"
        "     * </pre>\n"
        "     * <pre>not Java at all</pre>\n"
        "     */\n"
        "    int add(int... numbers) { return sum(numbers); }\n"
        "}\n",
        [
            (
                (8, 9, "Adds numbers. Call it with `two`.\nLists are added so, by elements:"),
                ("java", "List<Integer> all = add(a, b);\n  print(all);"),
            ),
            ((12, 12, "Adds numbers. Call it with `two`."), ("java", "if (a < b) { add(a); }")),
        ],
    ),
    "a.ts": (
        "/**\n * Adds two numbers.\n *\n * @param a one\n * @example <caption>Of two small numbers:</caption>\n"
        " * const sum = add(1, 2);\n *\n * log(sum);\n"
        " * @example\n * ```sh\n * add 1 2\n * ```\n * @returns both\n */\n"
        "export function add(a: number, b: number) { return a + b; }\n",
        [
            (
                (6, 8, "Adds two numbers.\nOf two small numbers:"),
                ("typescript", "const sum = add(1, 2);\n\nlog(sum);"),
            ),
            ((11, 11, "Adds two numbers."), ("shell", "add 1 2")),
        ],
    ),
    "a.rs": (
        "/// Adds two numbers.\n///\n/// # Examples\n///\n/// ```\n/// # use a::add;\n/// let x = add(1, 2);\n"
        "/// # let y = 1;\n/// assert_eq!(x, 3);\n/// ```\n///\n/// ```text\n/// 3\n/// ```\n///\n/// ```compile_fail\n"
        "/// add();\n/// ```\npub fn add(a: i32, b: i32) -> i32 { a + b }\n",
        [((7, 9, "Adds two numbers."), ("rust", "let x = add(1, 2);\nassert_eq!(x, 3);"))],
    ),
    "a.kt": (
        "/**\n * Adds two numbers.\n *\n * This is how [add] is called:\n *\n"
        " * ```\n * val x = add(1, 2)\n * ```\n */\n"
        "fun add(a: Int, b: Int): Int { return a + b }\n",
        [((7, 7, "Adds two numbers.\nThis is how `add` is called:"), ("kotlin", "val x = add(1, 2)"))],
    ),
    "a.go": (
        "package a\n\n// Add adds two numbers. Small ones are added like this:\n//\n//\tx := Add(1, 2)\n"
        "//\tprint(x)\n//\n"
        "// It never\n//   - fails\n//   - waits\nfunc Add(a, b int) int { return a + b }\n",
        [
            (
                (5, 6, "Add adds two numbers. Small ones are added like this:"),
                ("go", "x := Add(1, 2)\nprint(x)"),
            )
        ],
    ),
    "a.cpp": (
        "/**\n * \\brief Adds two numbers.\n *\n * Use it like any other:\n"
        " * \\code{.cpp}\n * int x = add(1, 2);\n * \\endcode\n */\n"
        "int add(int a, int b) { return a + b; }\n",
        [((6, 6, "Adds two numbers.\nUse it like any other:"), ("cpp", "int x = add(1, 2);"))],
    ),
    "a.cs": (
        "class A {\n  /// <summary>Adds two numbers.</summary>\n  /// <example>\n"
        "  /// Small ones are added like this:\n"
        '  /// <code language="cs">\n  /// var x = Add(1, 2);\n  /// </code>\n  /// </example>\n'
        "  int Add(int a, int b) { return a + b; }\n}\n",
        [((6, 6, "Adds two numbers.\nSmall ones are added like this:"), ("csharp", "var x = Add(1, 2);"))],
    ),
    "a.rb": (
        "# Adds two numbers.\n#\n# It is called without parentheses:\n#\n#   x = add 1, 2\n#   puts x\n#\n"
        "# @param a [Integer]\ndef add(a, b)\n  a + b\nend\n",
        [((5, 6, "Adds two numbers.\nIt is called without parentheses:"), ("ruby", "x = add 1, 2\nputs x"))],
    ),
    "a.swift": (
        "/// Adds two numbers.\n///\n/// ```swift\n/// let x = add(1, 2)\n/// ```\n"
        "func add(_ a: Int, _ b: Int) -> Int { return a + b }\n",
        [((4, 4, "Adds two numbers."), ("swift", "let x = add(1, 2)"))],
    ),
    "a.php": (
        "<?php\n/**\n * Adds two numbers.\n *\n * <code>\n * $x = add(1, 2);\n * </code>\n */\n"
        "function add($a, $b) { return $a + $b; }\n",
        [((6, 6, "Adds two numbers."), ("php", "$x = add(1, 2);"))],
    ),
}


@pytest.mark.parametrize("path", EXAMPLES)
def test_examples(path):
    source, expected = EXAMPLES[path]
    found = [
        ((pair.start_line, pair.end_line, pair.text), (pair.language, pair.code))
        for pair in extract(source, path).extracts
    ]
    assert found == expected


def test_examples_are_chosen():
    source, _ = EXAMPLES["a.kt"]
    extractor = extractor_for("a.kt", ())
    assert {pair.kind for pair in extractor.extract(source.encode(), "a.kt", CorpusConfig()).extracts} == {"function"}
    both = extractor.extract(source.encode(), "a.kt", CorpusConfig(kinds=("function", "example"))).extracts
    assert [pair.kind for pair in both] == ["example", "function"]
    assert both[0].text.startswith("fun add(a: Int, b: Int): Int\nAdds two numbers.\n")


def test_blocks_that_are_no_examples_are_counted():
    source, _ = EXAMPLES["A.java"]
    assert extract(source, "A.java").skipped == [("code block without a language", 14)]
    source, _ = EXAMPLES["a.rs"]
    assert extract(source, "a.rs").skipped == [("code block that is no code", 13)]


def test_any_comment():
    """Pieces of markup in any order raise nothing."""
    pieces = [
        "<pre>",
        "</pre>",
        "{@code",
        "}",
        "```",
        "\n",
        " * ",
        "@example",
        "\\code",
        "\\endcode",
        "<code>",
        "</code>",
    ]
    pieces += ["    x", "{@snippet :", "<caption>", "# ", "///", "/**", "*/", "//\t", "a b", "<![CDATA[", "]]>", "\n\n"]
    generator = random.Random(0)
    for style in STYLES:
        for _ in range(100):
            raw = "".join(generator.choices(pieces, k=generator.randint(1, 30)))
            for example in find_examples(raw, style):
                assert example.code.strip()


def test_a_paragraph_that_repeats_the_summary_is_the_text():
    assert example_text("Adds two numbers.", "Adds two numbers.\n\nThe first may be zero:") == (
        "Adds two numbers.\n\nThe first may be zero:"
    )
    assert example_text("Adds two numbers.", "It is called so:") == "Adds two numbers.\nIt is called so:"
    assert (
        example_text("Adds two numbers. It is called so:", "It is called so:") == "Adds two numbers. It is called so:"
    )
    assert example_text("Add", "Addition is done so, in two steps:") == "Addition is done so, in two steps:"
    assert example_text("Add all numbers", "Add all numbersets so:") == "Add all numbers\nAdd all numbersets so:"
    assert example_text("", "It is called so:") == "It is called so:"
