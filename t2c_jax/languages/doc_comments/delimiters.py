"""Comments without their delimiters: ``/** … */``, ``///``, ``//!``, ``//``, ``#``, ``--``, ``=begin … =end``."""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINE = re.compile(r"(?://[/!]*<?|#+[:!]?|--+\|?) ?")
_STAR = re.compile(r"[ \t]*\*+(?!/)[ \t]?")
_STARS = re.compile(rf"\n{_STAR.pattern}")
_OPENING = re.compile(r"/\*(?:[*!]+(?!/))?<?")  # without the star of the end
# Lines for a tool, which say nothing of the code.
_DIRECTIVE = re.compile(
    r"""[ \t]*(?:/\*+|//[/!]?|\#|--|\*)[ \t]*(?:
      (?:eslint|tslint|jshint|jscs|stylelint|biome|oxlint|prettier|istanbul|c8|v8|jest|flow)
      [- ](?:disable|enable|ignore|env|next|environment)
    | @(?:ts-|flow\b|noflow\b|jsx|format\b|codeCoverage|phpstan-ignore|psalm-suppress|noinspection)
    | (?:NOLINT|clang-format|cppcheck-suppress|IWYU|LCOV_EXCL|GCOV_EXCL|coverity|LINT\.)
    | (?:CHECKSTYLE|NOPMD|NOSONAR|noinspection|spotless:|language=|region\b|endregion\b|\#(?:end)?region)
    | (?:rubocop|shellcheck|swiftlint|swiftformat|phpcs|phpstan|ktlint|detekt|pylint|reek|sqlfluff|noqa)(?:[:\s]|$)
    | (?:frozen_string_literal|typed|encoding|coding|warn_indent|warn_past_scope|shareable_constant_value):
    | -\*-.*-\*- | vim?:\s | MARK:
    )""",
    re.VERBOSE | re.MULTILINE,
)
_LATER_DIRECTIVE = re.compile(rf"\n{_DIRECTIVE.pattern}", _DIRECTIVE.flags)  # literals are searched for fastest


def comment_lines(raw: str) -> list[str]:
    """The lines of one or several comments, with their indentation relative to each other.

    Args:
      raw: comments as the file has them, one below the other, with any space before them and any line ends.
    """
    lines: list[str] = []
    if _DIRECTIVE.match(raw) or _LATER_DIRECTIVE.search(raw):
        raw = "\n".join(line for line in raw.split("\n") if not _DIRECTIVE.match(line))
    raw = raw.replace("\r\n", "\n").replace("\r", "\n") if "\r" in raw else raw
    if raw.startswith("/*") and raw.find("*/") == len(raw) - 2 > 2:  # as most are: one block
        opening = _OPENING.match(raw)
        assert opening is not None
        return _only_block(raw[opening.end() : -2].rstrip("*"))
    for is_block, found in _comments(raw.split("\n")):
        lines.extend(_block(found) if is_block else _dedent(found))
    return lines


def _comments(lines: list[str]) -> Iterator[tuple[bool, list[str]]]:
    """Runs of lines: whether they are one block comment, and what is in it."""
    run: list[str] = []
    i = 0
    while i < len(lines):
        line = lines[i].lstrip()
        closing = "*/" if line.startswith("/*") else "=end" if line.startswith("=begin") else ""
        if not closing:
            run.append(_LINE.sub("", line, count=1))
            i += 1
            continue
        if run:
            yield False, run
            run = []
        opening = _OPENING.match(line)
        block = [line[opening.end() :] if opening else ""]
        while closing not in block[-1] and i + 1 < len(lines):
            i += 1
            block.append(lines[i])
        block[-1], _, rest = block[-1].partition(closing)
        block[-1] = block[-1].rstrip("*")
        yield True, block
        lines[i] = rest if closing == "*/" else ""
        i += not lines[i].strip()
    if run:
        yield False, run


def _only_block(text: str) -> list[str]:
    """The lines within a block: all stars at once where each line, but perhaps the last, begins with one."""
    first, newline, rest = text.partition("\n")
    bare, stars = _STARS.subn("\n", newline + rest)
    without_star = text.count("\n") - stars
    if without_star > 1 or (without_star and rest[rest.rfind("\n") + 1 :].strip()):
        return _block(text.split("\n"))
    lines = bare.split("\n")[1:]
    if "*" in bare:
        lines = [line if line.strip(" \t*") else "" for line in lines]
    return [first.strip(), *_dedent(lines)]


def _block(lines: list[str]) -> list[str]:
    first, rest = lines[0].strip(), lines[1:]
    stars = [_STAR.match(line) for line in rest]
    if 2 * sum(star is not None for star in stars) > sum(not line.isspace() and line != "" for line in rest):
        rest = [
            "" if not line.strip(" \t*") else line[star.end() :] if star else line
            for line, star in zip(rest, stars, strict=True)
        ]
    return [first, *_dedent(rest)]


def _dedent(lines: list[str]) -> list[str]:
    lines = [line.rstrip().expandtabs(4) if "\t" in line else line.rstrip() for line in lines]
    if not next(filter(None, lines), "").startswith(" "):
        return lines or [""]  # an empty line is behind a block of one line
    margin = min([len(line) - len(line.lstrip(" ")) for line in lines if line])
    return [line[margin:] for line in lines]
