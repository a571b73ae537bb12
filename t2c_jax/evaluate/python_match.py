"""Equality of Python whatever its layout, also of the single lines of a program that the Django data set has."""

from __future__ import annotations

import ast
import re
import warnings

from t2c_jax.evaluate.metrics import Match

# A clause's first word, and what has to stand before it to make a statement of it.
_BEFORE = {
    "elif": "if _: pass\n",
    "else": "if _: pass\n",
    "except": "try: pass\n",
    "finally": "try: pass\n",
}
_FIRST_WORD = re.compile(r"\w+|@|")


def canonical_python(code: str) -> tuple[str, str] | None:
    """The code as ``ast.unparse`` prints it, with the opening it lacked; None where it does not parse.

    A line that opens a block gets the body ``pass``, a clause (``else :``, ``except E :``) the statement that it
    belongs to, ``try`` a clause to end it and a decorator a function; so did Yin & Neubig (2017) and TranX. The
    opening is told apart, so that the clause alone is not equal to the whole statement.
    """
    code = code.strip()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd escapes and literals are a matter of style here
        printed = _printed(code)
        if printed is not None:
            return "", printed
        first = _FIRST_WORD.match(code)
        word = first.group() if first else ""
        before, after = _BEFORE.get(word, ""), " pass" if code.endswith(":") else ""
        if word == "try":
            after += "\nfinally: pass"
        elif word == "@":
            after = "\ndef _(): pass"
        printed = _printed(before + code + after)
    return None if printed is None else (f"{before}|{after}", printed)


def python_match(prediction: str, reference: str) -> bool:
    """Whether both are the same Python; where the reference is none, whether both are the same words."""
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

    Of the 17,000 references in Django's train and dev splits all parse that way. The language of a pair is not
    asked: a file of pairs seldom names it.
    """

    name = "python_match"
    title = "Python match"
    phrase = "the match of parsed Python"
    signature = "equal after ast.parse and ast.unparse, lone clauses and missing bodies completed; else equal words"
    match = staticmethod(python_match)
