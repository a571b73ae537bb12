"""Equality of Python but for its layout and comments, also of single lines of a program, as in the Django data set."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import textwrap
import tokenize
import warnings

from t2c_jax.evaluate.metrics.metric import Match

# A clause's first word, and what has to stand before it to make a statement of it.
_BEFORE = {
    "elif": "if _: pass\n",
    "else": "if _: pass\n",
    "except": "try: pass\n",
    "finally": "try: pass\n",
    "case": "match _:\n",
}
# A statement's first word, and what has to follow its header and body.
_AFTER = {"try": "\nfinally: pass", "@": "\ndef _(): pass"}
_FIRST_WORD = re.compile(r"\w+|@|")
_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def canonical_python(code: str) -> tuple[str, str] | None:
    """The code as ``ast.unparse`` prints it, and the completion that it needed.

    A line that opens a block is completed by the body ``pass``, a clause (``else :``, ``except E :``, ``case 1 :``) by
    the statement that it belongs to, ``match`` by a case, ``try`` by a clause and a decorator by a function, as Yin &
    Neubig (2017) and TranX did. The completion is returned too, so that a clause alone does not equal the whole
    statement.

    Returns:
      None where the code is no Python, and where it has no statement, as a bare comment.
    """
    code = code.strip()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd escapes and literals are a matter of style here
        printed = _printed(code)
        if printed is not None:
            return ("", printed) if printed else None
        first = _FIRST_WORD.match(code)
        word = first.group() if first else ""
        before, after = _BEFORE.get(word, ""), _AFTER.get(word, "")
        header = _open_header(code)
        if header is not None:
            code, after = header, ("\n case _: pass" if word == "match" else " pass") + after
        if word == "case":
            code = textwrap.indent(code, " ", lambda _: True)
        printed = _printed(before + code + after)
    return None if printed is None else (f"{before}|{after}", printed)


def _open_header(code: str) -> str | None:
    """The code up to its last colon, if only comments follow."""
    last = None
    with contextlib.suppress(tokenize.TokenError, SyntaxError, ValueError):  # what is incomplete ends with an error
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type not in _LAYOUT:
                last = token
    if last is None or last.string != ":":
        return None
    row, column = last.end
    lines = code.split("\n")[:row]
    return "\n".join([*lines[:-1], lines[-1][:column]])


def python_match(prediction: str, reference: str) -> bool:
    """Whether both are the same Python; where the reference has no statement, whether both are the same words."""
    wanted = canonical_python(reference)
    if wanted is None:
        return prediction.split() == reference.split()
    return canonical_python(prediction) == wanted


def _printed(code: str) -> str | None:
    try:
        return ast.unparse(ast.parse(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # ValueError: null bytes, lone surrogates. The last two: nesting beyond the stack.
        return None


class PythonMatch(Match):
    """Exact match of Python after parsing and printing (Yin & Neubig 2017, section 5.1), so spacing does not count.

    All 17,000 references in Django's train and dev splits parse that way. The language of a pair does not matter, since
    a file of pairs seldom names it.
    """

    name = "python_match"
    title = "Python match"
    phrase = "the match of parsed Python"
    signature = "equal after ast.parse and ast.unparse, lone clauses and missing bodies completed; else equal words"
    match = staticmethod(python_match)
