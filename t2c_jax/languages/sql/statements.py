"""Where the statements of a script in SQL begin and end, in any dialect.

tree-sitter's grammar of SQL knows few procedural languages, and reads a statement that it cannot parse as a shorter
one. Where statements end is lexical, so strings, comments, dollar quotes, blocks and delimiters are enough to know it:

- A statement ends at a semicolon, at the delimiter that MySQL's ``DELIMITER`` names, at a line ``GO`` (SQL Server) or
  ``/`` (Oracle), at a command of psql, or with the file.
- Semicolons within ``BEGIN … END`` of a routine, trigger or anonymous block do not end it. Where a file has lines
  ``GO`` or ``/``, those alone end such statements, since their declarations come before the ``BEGIN``.
- Commands of SQL*Plus and psql, and the data below ``COPY … FROM stdin``, are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    rb"""
      (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    | (?P<string>[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)|'(?:[^']|'')*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z))
    | (?P<dollar>\$(?:[A-Za-z_]\w*)?\$)
    | (?P<delimiter>^[ \t]*DELIMITER[ \t]+(?P<new_delimiter>\S+)[^\n]*)
    | (?P<batch>^[ \t]*(?:GO(?:[ \t]+\d+)?|/)[ \t]*;?[ \t\r]*$)
    | (?P<command>\\[A-Za-z.!?][^\n]*)
    | (?P<word>[A-Za-z_@\#][\w@\#$]*)
    | (?P<end>;)
    | (?P<bracket>[()])
    | (?P<other>[^\s\w'"`;()$/\\@\#-]+|\d[\w.]*|[^\s])
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
# MySQL escapes quotes by a backslash; elsewhere a backslash is a character of a string.
_MYSQL_TOKEN = re.compile(
    rb"""(?P<comment>\#[^\n]*)|(?P<string>'(?:[^'\\]|\\.|'')*(?:'|\Z)|"(?:[^"\\]|\\.|"")*(?:"|\Z)|`[^`]*(?:`|\Z))""",
    re.DOTALL,
)
_MYSQL = re.compile(rb"`\w+`|^[ \t]*DELIMITER[ \t]|\bENGINE[ \t]*=", re.MULTILINE | re.IGNORECASE)
_BATCHES = re.compile(rb"^[ \t]*(?:GO|/)[ \t\r]*$", re.MULTILINE | re.IGNORECASE)
_HEAD_WORDS = 8  # of a statement, among which is what it creates
_ROUTINES = frozenset({b"FUNCTION", b"PROCEDURE", b"PROC", b"TRIGGER", b"PACKAGE", b"EVENT", b"TYPE"})
_NO_BLOCK = re.compile(
    rb"\s*(?:;|\Z|(?:TRANSACTION|TRAN|WORK|ISOLATION|READ|DEFERRED|IMMEDIATE|EXCLUSIVE|DISTRIBUTED)\b)", re.IGNORECASE
)
_LOOP_ENDS = re.compile(rb"\s+(?:IF|LOOP|WHILE|REPEAT|FOR)\b", re.IGNORECASE)
_CASE_ENDS = re.compile(rb"\s+CASE\b", re.IGNORECASE)
_ORACLE = re.compile(
    rb"^[ \t]*(?:/|@@?[\w./&$-]+|WHENEVER[ \t]+SQLERROR\b.*|PROMPT\b.*)[ \t\r]*$", re.MULTILINE | re.IGNORECASE
)
# Commands of SQL*Plus end with their line.
_SQLPLUS = re.compile(
    rb"(?:@@?[\w./&]|(?:SET|PROMPT|SPOOL|WHENEVER|DEFINE|UNDEFINE|COLUMN|ACCEPT|EXEC|EXECUTE|SHOW|CONNECT|DISCONNECT|REM"
    rb"|CLEAR|VARIABLE|PRINT|HOST|EXIT|QUIT|PAUSE|TTITLE|DESC|DESCRIBE|TIMING)\b"
    rb"(?![ \t]+(?:ROLE|TRANSACTION|CONSTRAINTS?)\b))[^\n]*",
    re.IGNORECASE,
)
_COPY = re.compile(rb"COPY\b.*\bFROM\s+stdin\b", re.DOTALL | re.IGNORECASE)
_COPY_END = re.compile(rb"^\\\.[ \t\r]*$\n?", re.MULTILINE)


@dataclass
class Script:
    """What a script consists of.

    Attributes:
      statements: first and last position of each, with its semicolon; and whether it is whole.
      comments: positions of all comments outside of statements, without the line end.
    """

    statements: list[tuple[int, int, bool]] = field(default_factory=list)
    comments: list[tuple[int, int]] = field(default_factory=list)


def read_script(data: bytes) -> Script:
    """The statements and comments of a script."""
    return _Reader(data).read()


@dataclass
class _Statement:
    """The statement that is read, or none yet."""

    start: int = -1
    words: int = 0
    brackets: int = 0
    blocks: int = 0  # open ones
    is_created: bool = False
    is_routine: bool = False  # or another one that semicolons may not end
    closes_case: bool = False  # the word before was the END of END CASE
    is_whole: bool = True


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._script = Script()
        self._is_mysql = _MYSQL.search(data) is not None
        self._has_batches = _BATCHES.search(data) is not None
        self._is_oracle = _ORACLE.search(data) is not None
        self._delimiter = b""
        self._statement = _Statement()

    def read(self) -> Script:
        """Reads all of it."""
        data, position = self._data, 0
        while (match := self._next(position)) is not None:
            kind, start, position = match.lastgroup, match.start(), match.end()
            cut = match[0].find(self._delimiter) if self._delimiter and kind != "comment" else -1
            if cut < 0 and self._delimiter and kind != "comment" and data.startswith(self._delimiter, start):
                cut = 0
            if cut >= 0 and kind != "string":
                self._finish(start + cut, is_delimited=True)
                position = start + cut + len(self._delimiter)
            elif kind == "comment":
                if self._statement.start < 0:
                    self._script.comments.append((start, start + len(match[0].rstrip())))
            elif self._is_oracle and self._statement.start < 0 and (command := _SQLPLUS.match(data, start)):
                position = command.end()
            elif kind == "delimiter":
                self._finish(start)
                self._delimiter = b"" if match["new_delimiter"] == b";" else match["new_delimiter"]
            elif kind in ("batch", "command"):
                self._finish(start, is_delimited=True)
            elif kind == "end" and not self._delimiter:
                statement = self._statement
                if not statement.blocks and not (statement.is_routine and self._has_batches):
                    self._finish(position)
                    position = self._behind_copied(statement.start, position)
            else:
                position = self._read_code(kind, match)
        self._finish(len(data))
        return self._script

    def _next(self, position: int) -> re.Match[bytes] | None:
        match = _TOKEN.search(self._data, position)
        if match is not None and self._is_mysql:
            return _MYSQL_TOKEN.match(self._data, match.start()) or match
        return match

    def _behind_copied(self, start: int, end: int) -> int:
        """The position behind the data of a statement that copies it from the script, else the statement's end."""
        if start < 0 or not _COPY.match(self._data, start, end):
            return end
        copied = _COPY_END.search(self._data, end)
        return copied.end() if copied else len(self._data)

    def _read_code(self, kind: str | None, match: re.Match[bytes]) -> int:
        statement, end = self._statement, match.end()
        if statement.start < 0:
            statement.start = match.start()
        if kind == "word":
            self._read_word(match[0].upper(), end)
        elif kind == "bracket":
            statement.brackets += 1 if match[0] == b"(" else -1
        elif kind == "string" and end == len(self._data):
            statement.is_whole &= len(match[0]) > 1 and match[0][-1:] in (b"'", b'"', b"`")
        elif kind == "dollar":
            closing = self._data.find(match[0], end)
            statement.is_whole &= closing >= 0
            return closing + len(match[0]) if closing >= 0 else len(self._data)
        return end

    def _read_word(self, word: bytes, end: int) -> None:
        statement, data = self._statement, self._data
        statement.words += 1
        if statement.words == 1:
            statement.is_created = word in (b"CREATE", b"ALTER")
            declares = word in (b"IF", b"WHILE", b"DECLARE") and self._has_batches
            statement.is_routine = declares or (word == b"BEGIN" and not _NO_BLOCK.match(data, end))
        elif statement.is_created and statement.words <= _HEAD_WORDS and word in _ROUTINES:
            statement.is_routine = True
        if not statement.is_routine:
            return
        if word in (b"BEGIN", b"CASE"):
            statement.blocks += not statement.closes_case
        elif word == b"END" and not _LOOP_ENDS.match(data, end):
            statement.blocks = max(0, statement.blocks - 1)
        statement.closes_case = word == b"END" and _CASE_ENDS.match(data, end) is not None

    def _finish(self, end: int, is_delimited: bool = False) -> None:
        statement, self._statement = self._statement, _Statement()
        if statement.start < 0:
            return
        code = self._data[statement.start : end].rstrip()
        if code.strip(b"; \t\r\n"):
            has_ended = is_delimited or self._has_batches or not statement.blocks
            is_whole = statement.is_whole and not statement.brackets and has_ended
            self._script.statements.append((statement.start, statement.start + len(code), is_whole))


def header_words(statement: bytes) -> Iterator[tuple[str, int]]:
    """The words of a statement that are within no brackets and strings, in upper case, with their positions."""
    depth = 0
    for match in _TOKEN.finditer(statement):
        if match["bracket"] is not None:
            depth += 1 if match[0] == b"(" else -1
        if not depth and (match["word"] or match["dollar"] or match["string"]):
            yield match[0].decode("utf-8", "replace").upper(), match.start()
