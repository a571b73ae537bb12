"""Docstrings of Python in the styles of reST, Google, NumPy and Epydoc, by docstring-parser.

The style is chosen here, by the sections that a docstring has: docstring-parser tries them all, which takes longer and
reads a section of Google's style that it cannot parse as another style. Markup of reST in the prose stays.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

from t2c_jax.languages.doc_comments.doc import Doc, make_doc
from t2c_jax.languages.doc_comments.markup import tidy

if TYPE_CHECKING:
    from docstring_parser import Docstring

_SECTIONS = {
    "numpydoc": re.compile(r"^(?:[A-Z]\w+)(?: [A-Z]\w+)?[ \t]*\n(?:-{3,}|={3,})[ \t]*$", re.MULTILINE),
    "google": re.compile(
        r"^(?:Arg(?:ument)?s|Param(?:eter)?s|Raises|Exceptions|Except|Attributes|Examples?|Returns|Yields):[ \t]*\n"
        r"(?:[ \t]*\n)*[ \t]+\S",
        re.MULTILINE,
    ),
    "rest": re.compile(
        r"^:(?:(?:param|parameter|arg|argument|key|keyword|attribute|type|raises?|exception|except)\s[^:`\n]+"
        r"|returns?|rtype|yields?)[ \t]*:(?!`)",
        re.MULTILINE,
    ),
    "epydoc": re.compile(r"^@(?:(?:param|type|raise|keyword)\s[^:\n]+|return|rtype)[ \t]*:", re.MULTILINE),
}
_ROLE = re.compile(r"^(?=:[\w:+.-]+:`)", re.MULTILINE)  # docstring-parser reads it as a field
_DOUBLE_RULE = re.compile(r"^={3,}[ \t]*$", re.MULTILINE)  # SymPy's headings
_MARK = "\ue000"


def clean_docstring(docstring: str) -> Doc:
    """The doc of a docstring, with any indentation."""
    text = inspect.cleandoc(docstring).strip()
    starts = {style: match.start() for style, section in _SECTIONS.items() if (match := section.search(text))}
    if not starts:
        return make_doc(tidy(text))
    style = min(starts, key=lambda name: starts[name])
    if not starts[style]:  # docstring-parser dedents once more, and then finds nothing in a section on the first line
        text = f"{_MARK}\n\n{text}"
    if style == "rest":
        text = _ROLE.sub(_MARK, text)
    elif style == "numpydoc":
        text = _DOUBLE_RULE.sub(lambda rule: "-" * len(rule[0]), text)
    parsed = _parse(text, style)
    if parsed is None:  # sections that break their own rules
        return make_doc(_clean(text[: starts[style]]))
    raises = {error.type_name or "": _clean(error.description) for error in parsed.raises}
    parameters = {parameter.arg_name: _clean(parameter.description) for parameter in parsed.params}
    return make_doc(
        _clean(parsed.description),
        parameters,
        _clean(parsed.returns.description) if parsed.returns else "",
        raises,
        (_clean(parsed.deprecation.description) or "yes") if parsed.deprecation else "",
        tuple(filter(None, (_clean(example.snippet or example.description) for example in parsed.examples))),
    )


def _parse(text: str, style: str) -> Docstring | None:
    from docstring_parser import ParseError, epydoc, google, numpydoc, rest

    module = {"numpydoc": numpydoc, "google": google, "rest": rest, "epydoc": epydoc}[style]
    try:
        return module.parse(text)
    except (ParseError, ValueError, IndexError, AttributeError):
        return None


def _clean(text: str | None) -> str:
    return tidy((text or "").replace(_MARK, ""))
