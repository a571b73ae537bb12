"""Markup of Swift's symbol documentation: Markdown with lists of parameters, returns and throws."""

from __future__ import annotations

import re
import textwrap

from t2c_jax.languages.doc_comments.delimiters import comment_lines
from t2c_jax.languages.doc_comments.doc import Doc, make_doc
from t2c_jax.languages.doc_comments.markup import Protected, markdown_prose

_FIELD = re.compile(r"^([ \t]*)[-*+][ \t]+(Parameters?|Returns?|Throws)\b([ \t]+[^\s:]+)?[ \t]*:[ \t]*", re.IGNORECASE)
_ITEM = re.compile(r"^([ \t]*)[-*+][ \t]+`?([\w.]+)`?[ \t]*:[ \t]*")
_KEPT = (
    *("note", "important", "warning", "tip", "attention", "remark", "remarks", "precondition", "postcondition"),
    *("complexity", "invariant", "requires", "experiment"),
)
_DROPPED = ("seealso", "see also", "since", "version", "author", "authors", "date", "copyright", "bug", "todo", "tag")
_CALLOUT = re.compile(rf"^[ \t]*[-*+][ \t]+({'|'.join(_KEPT + _DROPPED)})[ \t]*:[ \t]*", re.IGNORECASE)
_FENCE = re.compile(r"[ \t]*(?:```|~~~)")


def clean_swift_markup(raw: str) -> Doc:
    """The doc of a comment."""
    return _Reader().read(comment_lines(raw))


class _Reader:
    """Collects the fields of a comment, each as a name and its lines."""

    def __init__(self) -> None:
        self._main: list[str] = []
        self._parameters: dict[str, list[str]] = {}
        self._others: dict[str, list[str]] = {"return": [], "throw": []}
        self._dropped: list[str] = []

    def read(self, lines: list[str]) -> Doc:
        """The doc of lines without delimiters."""
        target, margin, in_list, in_fence = self._main, 0, False, False
        for line in lines:
            if _FENCE.match(line):
                in_fence = not in_fence
            field, item, callout = (
                (None, None, None) if in_fence else (p.match(line) for p in (_FIELD, _ITEM, _CALLOUT))
            )
            if field:
                margin, name = len(field[1]), (field[3] or "").strip(" \t`")
                kind = field[2].lower().rstrip("s")
                in_list = kind == "parameter" and not name
                target = self._parameters.setdefault(name, []) if kind == "parameter" else self._others[kind]
                line = line[field.end() :]
            elif in_list and item and len(item[1]) > margin:
                target = self._parameters.setdefault(item[2], [])
                line = line[item.end() :]
            elif callout:
                in_list = False
                is_dropped = callout[1].lower() in _DROPPED
                target = self._dropped if is_dropped else self._main
                line = line if is_dropped else f"\n{callout[1].capitalize()}: {line[callout.end() :]}"
            elif (
                target is not self._main
                and not in_fence
                and _is_prose(line, margin)
                and not (target and target[-1].strip())
            ):
                target, in_list = self._main, False  # text after a blank line that is not indented
            target.append(line)
        self._parameters.pop("", None)
        returns, raises = _prose(self._others["return"]), _prose(self._others["throw"])
        return make_doc(
            _prose(self._main),
            {name: _prose(text) for name, text in self._parameters.items()},
            returns,
            {"": raises} if raises else {},
        )


def _is_prose(line: str, margin: int) -> bool:
    return bool(line.strip()) and len(line) - len(line.lstrip()) <= margin


def _prose(lines: list[str]) -> str:
    if not any(line.strip() for line in lines):
        return ""
    rest = textwrap.dedent("\n".join(lines[1:]))
    return markdown_prose(f"{lines[0]}\n{rest}", Protected())
