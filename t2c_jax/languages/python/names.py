"""The identifiers of Python code: names that are not keywords. Every version of Python finds the same ones.

The code is read by Python's own lexer, ``tokenize``. Soft keywords are keywords in some places only. A logical line and
its block decide that, without a parser:

- ``match`` is a keyword at the start of a logical line that ends in a colon, unless a colon follows it directly. Other
  statements that end in a colon start with a keyword.
- ``case`` is a keyword at the start of a logical line in the block of such a ``match``.
- ``type`` is a keyword before a name. Two names follow each other nowhere else.
- ``_`` is the wildcard in the patterns of a ``case``, which end at the first colon or ``if`` outside brackets. It is a
  name there before ``.``, ``(`` or ``=``, and after ``.``.

The names in the replacement fields of an f-string are identifiers too, if all of the f-string can be read. Before
Python 3.12 ``tokenize`` gives an f-string as one token, whose fields are found here; later versions give its parts.

In code with an error, the lexers of different versions fail at different tokens. Here the code ends at the first token
that any of them refuses; the names before it are returned. Two differences remain: f-strings that need PEP 701, which
older lexers refuse, and inconsistent tabs and spaces, which older lexers accept.
"""

from __future__ import annotations

import io
import keyword
import re
import token
import tokenize
from collections.abc import Iterator, Sequence
from typing import NamedTuple

Span = tuple[int, int]


class _Token(NamedTuple):
    """A token and its place in the text, in characters."""

    type: int
    text: str
    start: int
    end: int


class _LexicalError(Exception):
    """Some version of Python's lexer fails here."""


_NOT_IN_FILES = re.compile("[\0\ud800-\udfff]")  # characters that no Python file may hold
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_QUOTES = {'"', "'"}
_CLOSERS = {")": "(", "]": "[", "}": "{"}
_MAX_BRACKETS, _MAX_BLOCKS = 200, 100  # nesting limits of CPython's lexer
_NOT_PYTHON = {"$", "?", "`", "!"}
_LEADING_ZERO = re.compile(r"0[0-9_]*[1-9][0-9_]*")
_AFTER_NUMBER = {"and", "else", "for", "if", "in", "is", "not", "or"}  # keywords allowed right after a number
_PREFIXES = {"r", "u", "b", "f", "t", "rb", "br", "rf", "fr", "rt", "tr"}  # of strings
_IGNORED = {token.NL, token.COMMENT, token.ENDMARKER}
_FSTRING_STARTS = {getattr(token, name) for name in ("FSTRING_START", "TSTRING_START") if hasattr(token, name)}
_FSTRING_ENDS = {getattr(token, name) for name in ("FSTRING_END", "TSTRING_END") if hasattr(token, name)}


def names(code: str) -> tuple[list[Span], int]:
    """The identifiers of some Python.

    Args:
      code: any text.

    Returns:
      (start, end) of every occurrence of an identifier, in order, and the length of the text that could be read; all in
      characters.
    """
    refused = _NOT_IN_FILES.search(code)
    text = code[: refused.start()] if refused else code
    bom = text.startswith("\ufeff")
    spans, stop = _names(_ascii(text[bom:]), int(bom))
    return spans, len(text) if stop is None else stop


class _AsciiStandIn(dict[int, str]):
    """Replaces a character outside ASCII by one of the same class: a letter, a digit, or one that Python refuses.

    Some versions do not know all of Unicode's letters, and some count columns in bytes. A Z is in no keyword and in no
    string prefix.
    """

    def __missing__(self, character: int) -> str:
        itself = chr(character)
        if character < 128:
            self[character] = itself
        else:
            self[character] = "Z" if itself.isidentifier() else "0" if f"a{itself}".isidentifier() else "$"
        return self[character]


_STAND_IN = _AsciiStandIn()


def _ascii(text: str) -> str:
    return text if text.isascii() else text.translate(_STAND_IN)


def _names(text: str, offset: int) -> tuple[list[Span], int | None]:
    """The identifiers of ``text``, shifted by ``offset``, and where a lexical error is; None if there is none."""
    found: list[Span] = []
    blocks = [False]  # for each open block, whether it is that of a match statement
    opens_match = False
    line: list[_Token] = []
    read, stop = 0, None
    try:
        for item in _tokens(text):
            if item.type == token.INDENT:
                blocks.append(opens_match)
                if len(blocks) > _MAX_BLOCKS:
                    raise _LexicalError
            elif item.type == token.DEDENT:
                blocks.pop()
            elif item.type == token.NEWLINE:
                found += _names_of_line(line, blocks[-1])
                opens_match = _is_match(line)
                line = []
            else:
                line.append(item)
            read = item.end
    except _LexicalError:
        stop = read + offset
    found += _names_of_line(line, blocks[-1])
    return [(start + offset, end + offset) for start, end in found], stop


def _tokens(text: str) -> Iterator[_Token]:
    """The tokens without comments and blank lines; those of an f-string once all of it is read.

    Raises:
      _LexicalError: after the last token that every version of Python gives.
    """
    brackets: list[str] = []
    held: list[_Token] = []  # the tokens of an open f-string
    fstrings = 0
    before = _Token(token.NEWLINE, "", 0, 0)
    for item in _lexed(text):
        if item.type in _IGNORED:
            continue
        if _is_refused(item, before, text, in_fstring=fstrings > 0):
            raise _LexicalError
        if item.type == token.OP and item.text in _CLOSERS.values():
            brackets.append(item.text)
            if len(brackets) >= _MAX_BRACKETS:
                raise _LexicalError
        if item.type == token.OP and item.text in _CLOSERS and (not brackets or brackets.pop() != _CLOSERS[item.text]):
            raise _LexicalError
        fstrings += (item.type in _FSTRING_STARTS) - (item.type in _FSTRING_ENDS)
        is_conversion = fstrings and before.text == "!" and item.type == token.NAME
        before = item
        if not is_conversion:
            held.append(item)
        if item.type == token.STRING and _is_fstring(item.text):
            held += _in_fields(item)
        if not fstrings:
            yield from held
            held = []


def _is_refused(item: _Token, before: _Token, text: str, in_fstring: bool) -> bool:
    """Whether some version of the lexer fails at this token."""
    touches_number = before.type == token.NUMBER and item.start == before.end
    if item.type == token.NUMBER:
        return touches_number or _LEADING_ZERO.fullmatch(item.text) is not None
    if item.type == token.NAME:
        opens_string = text[item.end : item.end + 1] in _QUOTES and item.text.lower() in _PREFIXES
        return opens_string or (touches_number and item.text not in _AFTER_NUMBER)  # an unterminated string
    if item.type == token.OP:
        return item.text in _NOT_PYTHON and not (in_fstring and item.text == "!")
    return item.type == token.ERRORTOKEN


def _lexed(text: str) -> Iterator[_Token]:
    """The tokens of ``tokenize`` until it fails.

    Raises:
      _LexicalError: it failed.
    """
    starts = [0]
    lines = []
    for found in _LINE.finditer(text):
        starts.append(found.end())
        body = found.group().rstrip("\r\n")
        lines.append(body if found.end() - found.start() == len(body) else body + "\n")
    starts += [len(text)] * 2  # ``tokenize`` places the end of the text up to two lines further
    try:
        for item in tokenize.generate_tokens(io.StringIO("".join(lines), newline="\n").readline):
            (top, left), (bottom, right) = item.start, item.end
            yield _Token(item.type, item.string, starts[top - 1] + left, starts[bottom - 1] + right)
    except (tokenize.TokenError, SyntaxError, ValueError):
        raise _LexicalError from None


# ---- Soft keywords


def _is_match(line: Sequence[_Token]) -> bool:
    return len(line) > 2 and line[0].text == "match" and line[1].text != ":" and line[-1].text == ":"


def _names_of_line(line: Sequence[_Token], in_match: bool) -> list[Span]:
    """The identifiers of a logical line, in order."""
    is_case = in_match and bool(line) and line[0].text == "case"
    first_is_keyword = is_case or _is_match(line)
    patterns_end = _patterns_end(line) if is_case else 0
    spans = []
    for position, item in enumerate(line):
        if item.type != token.NAME or keyword.iskeyword(item.text) or (position == 0 and first_is_keyword):
            continue
        after = line[position + 1] if position + 1 < len(line) else None
        if item.text == "type" and after and after.type == token.NAME and not keyword.iskeyword(after.text):
            continue
        may_be_wildcard = item.text == "_" and position < patterns_end and line[position - 1].text != "."
        if may_be_wildcard and (after is None or after.text not in (".", "(", "=")):
            continue
        spans.append((item.start, item.end))
    return spans


def _patterns_end(line: Sequence[_Token]) -> int:
    depth = 0
    for position, item in enumerate(line):
        if item.type == token.OP:
            depth += (item.text in "([{") - (item.text in _CLOSERS)
        if not depth and item.text in (":", "if"):
            return position
    return len(line)


# ---- f-strings as one token, before Python 3.12

_QUOTE = re.compile(r"\"\"\"|'''|\"|'")
_STRING = re.compile(r"(\"\"\"|'''|\"|')(?:\\.|(?!\1)[^\\])*\1", re.DOTALL)
_NAMED = re.compile(r"\\N\{[^{}]*\}?")
_CONVERSION = re.compile(r"!\s*\w*\s*")


def _in_fields(string: _Token) -> list[_Token]:
    """The names in an f-string's replacement fields.

    Raises:
      _LexicalError: some field cannot be read.
    """
    names = []
    for start, end in _fields(string.text):
        spans, stop = _names(f"({string.text[start:end]})", string.start + start - 1)
        if stop is not None:
            raise _LexicalError
        names += [_Token(token.NAME, "", *span) for span in spans]
    return names


def _is_fstring(text: str) -> bool:
    return "f" in text[: text.index(text[-1])].lower()


def _fields(text: str) -> Iterator[Span]:
    """Where the expressions of the replacement fields are, also of those in format specifications.

    Raises:
      _LexicalError: a brace is not closed, or was not opened.
    """
    quote = _QUOTE.search(text)
    assert quote is not None
    is_raw = "r" in text[: quote.start()].lower()
    i, end = quote.end(), len(text) - len(quote.group())
    specifications = 0  # nesting depth of format specifications
    while i < end:
        if text[i] == "\\" and not is_raw:
            named = _NAMED.match(text, i, end)  # its braces are not those of a field
            i = named.end() if named else i + 1 + (text[i + 1] == "\\")
        elif text[i] not in "{}":
            i += 1
        elif not specifications and text[i] * 2 == text[i : i + 2]:
            i += 2
        elif text[i] == "}":
            if not specifications:
                raise _LexicalError
            specifications -= 1
            i += 1
        else:
            start, i = i + 1, _expression_end(text, i + 1, end)
            yield start, i
            conversion = _CONVERSION.match(text, i)
            i = conversion.end() if conversion else i
            if text[i : i + 1] not in (":", "}"):
                raise _LexicalError
            specifications += text[i] == ":"
            i += 1
    if specifications:
        raise _LexicalError


def _expression_end(text: str, i: int, end: int) -> int:
    """Where a field's expression ends: at a conversion, a colon or a brace outside brackets and strings."""
    depth = 0
    while i < end:
        character = text[i]
        if character in "\"'":
            string = _STRING.match(text, i, end)
            if string is None:
                raise _LexicalError
            i = string.end()
            continue
        if not depth and (character in ":}" or (character == "!" and text[i + 1] != "=")):
            return i
        depth += (character in "([{") - (character in ")]}")
        i += 2 if character == "!" else 1
    raise _LexicalError
