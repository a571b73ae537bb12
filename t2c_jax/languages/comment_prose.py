"""Which comments within code say in words what the code below them does."""

from __future__ import annotations

import re

from t2c_jax.languages.document_code import guess_language

KIND = "comment"
_FEWEST_WORDS = 3
_WORD = re.compile(r"[^\W\d_]{2,}")
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
_RULER = re.compile(r"([-=*#~_+/.<>|])\1{3,}")


def comment_text(lines: list[str]) -> str:
    """What a comment says, without the marks that made it one; empty if it is no prose.

    Args:
      lines: of the comment, each without its mark.
    """
    lines = [line.rstrip() for line in lines]
    text = "\n".join(line.removeprefix(" ") for line in lines).strip("\n")
    if len(_WORD.findall(text)) < _FEWEST_WORDS or _RULER.search(text):
        return ""
    if any(_NOT_PROSE.match(line) for line in lines):
        return ""
    return "" if _looks_like_code(text) else text


def _looks_like_code(text: str) -> bool:
    if text.rstrip().endswith(("{", "}", ";")) or re.search(r"\w\(.*\)\s*$|^\s*[)\]}]", text, re.MULTILINE):
        return True
    return guess_language(text) == "python"
