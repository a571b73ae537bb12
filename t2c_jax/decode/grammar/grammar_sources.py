"""What ``config.decode.grammar`` may be: a named grammar, ``regex:PATTERN``, ``schema:FILE.json`` or ``FILE.lark``.

``schema:{...}`` and ``lark:GRAMMAR`` hold the schema or the grammar itself, as a server gets it with a request.

Each becomes a grammar in llguidance's dialect of Lark
(https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md).
"""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from t2c_jax.config.registry import grammars
from t2c_jax.errors import UserError
from t2c_jax.workdir import digest

KEY = "config.decode.grammar"

# Without it llguidance allows one tokenization of a forced text alone, and loops where that text has no end.
_OPTIONS = '\n%llguidance {"no_forcing": true}\n'
_PLACE = re.compile(r"(?:at )?(?P<line>\d+)\((?P<column>\d+)\): (?P<what>[^\n]*)")
_REGEX_ERROR = re.compile(r"regex parse error:\n(?P<excerpt>.*)\nerror: (?P<what>[^\n]*)", re.DOTALL)


def _placed(message: str) -> str:
    """``:LINE:COLUMN: what is wrong`` of llguidance's message."""
    found = _PLACE.match(message)
    if found is None:
        return f": {message}"
    regex = _REGEX_ERROR.search(message)
    what = f"{found['what'].removesuffix(' regex parse error:')} {regex['what']}" if regex else found["what"]
    return f":{found['line']}:{found['column']}: {what.partition(' (at ')[0]}"


@dataclass(frozen=True)
class GrammarSource:
    """A grammar as text.

    Attributes:
      spec: the value of config.decode.grammar.
      lark: the grammar in llguidance's dialect of Lark.
      file: the user's file, for messages; empty where there is none.
      describe: turns llguidance's message into one that names the place in what the user wrote.
    """

    spec: str
    lark: str
    file: str = ""
    describe: Callable[[str], str] = field(default=_placed, compare=False)

    def error(self, message: str) -> UserError:
        """The error to raise where llguidance refuses the grammar with this message."""
        return UserError(f"{self.file or f'{KEY}={self.spec!r}'}{self.describe(message)}")


def packaged(name: str) -> Callable[[], str]:
    """Reads ``NAME.lark`` of this package."""

    def read() -> str:
        return importlib.resources.files(__package__).joinpath(f"{name}.lark").read_text("utf-8")

    return read


for _name in ("python", "python-line", "bash", "sql", "json"):
    grammars.register(_name)(packaged(_name))


def source_of(spec: str) -> GrammarSource:
    """The grammar that a value of config.decode.grammar names.

    Raises:
      UserError: the name is unknown, or the file is missing, not UTF-8, or not JSON.
    """
    if spec.startswith("regex:"):
        return _regex(spec, spec.removeprefix("regex:"))
    if spec.startswith("schema:{"):
        return _schema(spec, spec.removeprefix("schema:"))
    if spec.startswith("schema:"):
        return _schema_file(spec, spec.removeprefix("schema:"))
    if spec.startswith("lark:"):
        return GrammarSource(spec, spec.removeprefix("lark:") + _OPTIONS)
    if spec.endswith(".lark"):
        return GrammarSource(spec, _text(spec) + _OPTIONS, spec)
    return GrammarSource(spec, grammars.get(spec, KEY)() + _OPTIONS)


def grammar_label(spec: str) -> str:
    """The name of a named grammar; of another one, letters that change with its text. It suits a file's name.

    Raises:
      UserError: as ``source_of``.
    """
    return spec if spec in grammars else digest(source_of(spec).lark)[:8]


def _text(file: str) -> str:
    try:
        return Path(file).read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{KEY}: '{file}' does not exist") from None
    except OSError as error:
        raise UserError(f"{KEY}: '{file}' cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{file}:{line}: not UTF-8; convert it") from None


def _regex(spec: str, pattern: str) -> GrammarSource:
    def described(message: str) -> str:
        found = _REGEX_ERROR.search(message)
        if found is None:
            return _without_place(message)
        caret = re.search(r"^    ( *)\^", found["excerpt"], re.MULTILINE)
        columns = {len(_within_slashes(pattern[:size])): size + 1 for size in reversed(range(len(pattern)))}
        column = columns.get(len(caret[1]), 0) if caret else 0
        return f": {f'column {column}: ' if column else ''}{found['what']}"

    if re.fullmatch(r"(?:[^\\]|\\.)*\\", pattern, re.DOTALL):
        raise UserError(f"{KEY}={spec!r}: column {len(pattern)}: the backslash escapes nothing")
    return GrammarSource(spec, f"start: /{_within_slashes(pattern)}/{_OPTIONS}", describe=described)


def _within_slashes(pattern: str) -> str:
    """A regular expression as Lark writes it between slashes: neither a slash nor an escaped newline stands in it."""

    def escaped(found: re.Match[str]) -> str:
        return {"/": r"\/", "\\\n": r"\n"}.get(found[0], found[0])

    return re.sub(r"\\.|/", escaped, pattern, flags=re.DOTALL)


def _schema_file(spec: str, file: str) -> GrammarSource:
    return _schema(spec, _text(file), file)


def _schema(spec: str, text: str, file: str = "") -> GrammarSource:
    name = file or f"{KEY}={spec!r}"
    try:
        schema = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{name}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise UserError(f"{name}: the JSON is nested too deeply") from None
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        raise UserError(f"{name}: a JSON schema is an object")
    return GrammarSource(spec, f"start: %json {json.dumps(schema)}{_OPTIONS}", file, _without_place)


def _without_place(message: str) -> str:
    found = _PLACE.match(message)
    what = found["what"] if found else message
    return f": {what.removeprefix('failed to compile JSON schema: ')}"
