"""What all pages share: one self-contained HTML file, light and dark, wide and narrow, that loads nothing."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import importlib.resources
import json
from collections.abc import Sequence
from typing import Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.token import STANDARD_TYPES, Whitespace

from t2c_jax.languages.lexers import highlighting_lexer

_SCHEMES = (("light", "friendly"), ("dark", "github-dark"))
# Control characters get their pictures. Marks that reorder what is displayed get their code points, so that code reads
# in the order in which it runs (Boucher & Anderson 2021, "Trojan Source").
_VISIBLE = (
    {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
    | {0x7F: "\u2421"}
    | {code: f"\u27e8U+{code:04X}\u27e9" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
)


def document(
    title: str,
    body: Sequence[str],
    *,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    may_connect: bool = False,
    package: str = __package__,
) -> str:
    """A whole page of parts that are HTML.

    Args:
      title: plain text.
      body: parts of the body.
      styles: file names of style sheets beside the shared one.
      scripts: file names of scripts, which run as one after the body is parsed.
      may_connect: whether the script may talk to the server that the page is from.
      package: whose files ``styles`` and ``scripts`` are where this package has none of the name.

    The page's content security policy names its style and script by their digests. So nothing else is applied, run or
    loaded, whatever an answer holds.
    """
    style = "".join(asset(name, package) for name in ("page.css", *styles)) + _code_style()
    code = "".join(asset(name, package) for name in scripts)
    policy = f"default-src 'none'; style-src {_hashed(style)}; base-uri 'none'; form-action 'none'"
    policy += f"; script-src {_hashed(code)}" if code else ""
    policy += "; connect-src 'self'" if may_connect else ""
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>{''.join(body)}"
        f"{f'<script>{code}</script>' if code else ''}</body></html>\n"
    )


@functools.cache
def asset(name: str, package: str = __package__) -> str:
    """The text of a file of this package, or else of another one."""
    own = importlib.resources.files(__package__).joinpath(name)
    return (own if own.is_file() else importlib.resources.files(package).joinpath(name)).read_text("utf-8")


def escape(text: str) -> str:
    """Text as HTML."""
    return html.escape(text)


def visible(text: str) -> str:
    """The text with control characters and marks of writing direction as characters that one sees."""
    return text.translate(_VISIBLE)


def code_block(code: str, language: str) -> str:
    """Highlighted code."""
    return (
        f'<pre class="code">{highlight(visible(code), highlighting_lexer(language), HtmlFormatter(nowrap=True))}</pre>'
    )


@functools.lru_cache(maxsize=64)  # answers to one prompt are often equal
def token_spans(code: str, language: str) -> str:
    """How to highlight the code, for a script: ``CLASS:LENGTH`` of each run of characters, lengths in UTF-16 units."""
    spans: list[tuple[str, int]] = []
    left = len(code)
    for _, kind, value in highlighting_lexer(language).get_tokens_unprocessed(code + "\n"):
        part = value[:left]
        left -= len(part)
        while kind not in STANDARD_TYPES:
            kind = kind.parent
        name = "" if kind in Whitespace else STANDARD_TYPES[kind]
        length = len(part.encode("utf-16-le", "surrogatepass")) // 2
        if spans and spans[-1][0] == name:
            spans[-1] = (name, spans[-1][1] + length)
        elif length:
            spans.append((name, length))
    return " ".join(f"{name}:{length}" for name, length in spans)


def data_block(identity: str, value: Any) -> str:
    """A JSON value for a script to read; nothing in it ends the element."""
    text = json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="{identity}">{text}</script>'


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@functools.cache
def _code_style() -> str:
    rules = {scheme: "".join(HtmlFormatter(style=style).get_token_style_defs("pre.code")) for scheme, style in _SCHEMES}
    return "".join(f"@media (prefers-color-scheme: {scheme}) {{{rule}}}" for scheme, rule in rules.items())
