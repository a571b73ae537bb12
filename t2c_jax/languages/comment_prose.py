"""Which comments within code say in words what the code below them does."""

from __future__ import annotations

import re

from t2c_jax.languages.document_code import guess_language

KIND = "comment"
_FEWEST_WORDS = 3
_WORD = re.compile(r"[^\W\d_]{2,}")
_LINK = re.compile(r"\w+://\S+")
# Whole lines for a tool, between lines of prose.
_DIRECTIVE = re.compile(
    r"""\s*(?:
      (?:pylint|flake8|mypy|ruff|pytype|pyright|pyrefly|ty|type|fmt|yapf|isort|pragma|coverage|codespell|cspell)
        \s*:\s*(?:disable|enable|ignore|skip|off|on|no|basic|strict)\b(?!\s+\w+\s+\w+\s)
    | pyre-(?:fixme|ignore)\b | noqa\b | nosec\b | lint\.(?:ifchange|thenchange|omit)\b
    ).*""",
    re.VERBOSE | re.IGNORECASE,
)
_NOTE = re.compile(r"\s*(?:TODO|FIXME|XXX|HACK)\b")
# Instructions to tools, and notes of the authors to themselves.
_NOT_PROSE = re.compile(
    r"""\s*(?:
      (?:type|pylint|flake8|mypy|ruff|yapf|isort|fmt|pragma|nosec|noinspection|noqa|coverage|codespell|cspell|eslint
       |tslint|jshint|jslint|prettier|istanbul|c8|v8|clang-format|clang-tidy|nolint|lint|rubocop|shellcheck|phpcs
       |phpstan|psalm|sonar|lgtm|lint-fix|spellchecker|vim?|emacs|language|syntax|doctest|sphinx_gallery\w*)\b[\w-]*\s*[:=(-]
    | (?:noqa|nosec|nolint|pragma|region|endregion|fallthrough|fall-through|coding)\b
    | @ts-\w+ | @\w+ | go:\w+ | -\*- | !/ | %% | \#region
    | (?:todo|fixme|xxx|hack|bug|wtf|nb|tbd|review)\b
    | (?:copyright|\(c\)|spdx-)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
# A line that is one call, perhaps assigned, that closes a bracket, or is a comment again. Prose may end with a call.
_CODE_LINE = re.compile(
    r"^[ \t]*(?:(?:[\w.\[\]]+(?:[ \t]+[\w.]+)?[ \t]*=)?[ \t]*[\w.:]+\(.*\)[ \t]*$|[)\]}]|#[ \t])", re.MULTILINE
)
_RULER = re.compile(r"([-=*#~_+/.<>|])\1{3,}")


def comment_text(lines: list[str]) -> str:
    """What a comment says, without the marks that made it one; empty if it is no prose.

    Lines for tools are left out, and so is a note of the authors to themselves behind the prose.

    Args:
      lines: of the comment, each without its mark.
    """
    lines = [line.rstrip() for line in lines if not _DIRECTIVE.fullmatch(line)]
    lines = lines[: next((place for place, line in enumerate(lines) if place and _NOTE.match(line)), len(lines))]
    text = "\n".join(line.removeprefix(" ") for line in lines).strip("\n")
    if len(_WORD.findall(_LINK.sub("", text))) < _FEWEST_WORDS or _RULER.search(text):
        return ""
    if any(_NOT_PROSE.match(line) for line in lines):
        return ""
    return "" if _looks_like_code(text) else text


def _looks_like_code(text: str) -> bool:
    if text.rstrip().endswith(("{", "}", ";")) or _CODE_LINE.search(text):
        return True
    return guess_language(text) == "python"
