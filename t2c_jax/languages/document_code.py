"""What documents of every format share: their text, and which of their blocks are code.

A block is no code if its language is none (output, plain text). Interactive sessions are skipped, or cut to their
commands, by config.corpus.sessions. Cells with the commands of a notebook (``%magic``, ``!shell``, ``help?``) are
skipped, or lose these lines, by config.corpus.magics.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.forms import NoPair, code_form, text_form
from t2c_jax.languages.parsing import parses
from t2c_jax.languages.sessions import SESSION_LANGUAGES, commands
from t2c_jax.languages.written_names import language_as_written

_NO_CODE = frozenset(
    [
        "ansi",
        "ascii",
        "diff",
        "latex",
        "log",
        "math",
        "mermaid",
        "nohighlight",
        "none",
        "out",
        "output",
        "plain",
        "plaintext",
        "pytb",
        "raw",
        "tex",
        "text",
        "traceback",
        "txt",
        *SESSION_LANGUAGES,
    ]
)
_MAGIC = re.compile(r"^[ \t]*(?:(?:%%?[A-Za-z]|![^=\s]|\?{1,2}[A-Za-z])|[\w.]+\?{1,2}$)", re.MULTILINE)
_CELL_MAGIC = re.compile(r"\s*%%(\w+)[ \t]*(.*)")
_HAS_CELL_MAGIC = re.compile(r"[ \t]*%%[A-Za-z]", re.MULTILINE)
_TIMERS = frozenset(["capture", "prun", "time", "timeit"])  # the rest of the cell is code as it was
_CELL_LANGUAGES = {
    "R": "r",
    "bash": "shell",
    "bigquery": "sql",
    "cython": "cython",
    "javascript": "javascript",
    "js": "javascript",
    "julia": "julia",
    "perl": "perl",
    "python": "python",
    "python3": "python",
    "ruby": "ruby",
    "sh": "shell",
    "sql": "sql",
}
_LINE_END = re.compile(r"\r\n|\r|\n")


def makes_pairs(config: CorpusConfig) -> bool:
    """Whether blocks make pairs: not where the text needs no documentation, or the code is another form of a source."""
    return text_form(config).documented and code_form(config) is None


class DocumentText:
    """The text of a file.

    Attributes:
      text: with line feeds alone, without a byte order mark.
    """

    def __init__(self, data: bytes) -> None:
        """Decodes the file.

        Raises:
          NoPair: it is not UTF-8, or has null bytes.
        """
        try:
            source = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise NoPair("undecodable") from None
        if "\0" in source:
            raise NoPair("null bytes")
        self.text = source
        self._ends: list[str] | None = None
        if "\r" in source:
            self._ends = _LINE_END.findall(source)
            self.text = _LINE_END.sub("\n", source)

    def as_written(self, code: str, line: int) -> str:
        """The code with the line ends that the file has.

        Args:
          code: lines that follow each other in the file.
          line: the number of the first of them.
        """
        if self._ends is None:
            return code
        first, *others = code.split("\n")
        ends = self._ends[line - 1 :]
        return first + "".join(end + other for end, other in zip(ends, others, strict=False))


def read_code(code: str, language: str, config: CorpusConfig) -> tuple[str, str]:
    """The code of a block and its language, ``other`` where the document names one that is unknown.

    Args:
      code: as the document shows it, with line feeds alone.
      language: as the document or ``aliases.canonical`` names it; empty where the document does not say.
      config: for ``sessions`` and ``magics``.

    Raises:
      NoPair: the block is no code, or the config skips it.
    """
    keeps_commands = config.sessions == "commands"
    if keeps_commands:
        language = SESSION_LANGUAGES.get(language, language)
    if not language:
        raise NoPair("code block without a language")
    if language in _NO_CODE or (language := language_as_written(language)) in _NO_CODE:
        raise NoPair("code block that is no code")
    session = commands(code, language)
    if session is not None:
        if not (keeps_commands and session):
            raise NoPair("interactive session")
        code = session
    if language == "python" and _MAGIC.search(code) and not parses(code, language):
        if config.magics == "skip":
            raise NoPair("notebook magics")
        return _without_magics(code)
    return code, language


def _without_magics(code: str) -> tuple[str, str]:
    language = "python"
    if found := _CELL_MAGIC.match(code):
        name, argument = found[1], found[2].split()
        if name == "script" and argument:
            name = argument[0]
        if name not in _TIMERS:
            if name not in _CELL_LANGUAGES:
                raise NoPair("notebook magics")
            language = _CELL_LANGUAGES[name]
        code = code[found.end() :].lstrip("\n")
    if language == "python":
        if _HAS_CELL_MAGIC.search(code):
            raise NoPair("notebook magics")
        code = "\n".join(line for line in code.split("\n") if not _MAGIC.match(line)).strip("\n")
    if not code.strip():
        raise NoPair("notebook magics")
    return code, language


_PYTHON_PROMPT = re.compile(r"^>>>(?: |$)", re.MULTILINE)
_SHELL_PROMPT = re.compile(r"^\$ \S", re.MULTILINE)
_STATEMENTS = (
    *(ast.AnnAssign, ast.Assign, ast.AsyncFunctionDef, ast.AugAssign, ast.Call, ast.ClassDef, ast.For, ast.FunctionDef),
    *(ast.Assert, ast.If, ast.Import, ast.ImportFrom, ast.Raise, ast.Return, ast.While, ast.With),
)


def guess_language(code: str) -> str:
    """The language of code that names none: by its prompt, or Python if it parses to more than names and numbers."""
    if _PYTHON_PROMPT.search(code):
        return "python"
    if _SHELL_PROMPT.search(code):
        return "shell"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            body = ast.parse(code).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ""
    said = (node.value if isinstance(node, ast.Expr) else node for node in body)
    return "python" if any(isinstance(node, _STATEMENTS) for node in said) else ""


def common_indentation(lines: Iterable[str]) -> str:
    """The spaces and tabs that all lines begin with that are not blank."""
    indents = [line[: len(line) - len(line.lstrip(" \t"))] for line in lines if line.strip()]
    if not indents:
        return ""
    first, last = min(indents), max(indents)
    same = (place for place, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(same, len(first))]
