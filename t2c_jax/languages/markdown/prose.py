"""The words of headings and paragraphs, without the markup of site generators."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markdown_it.token import Token

from t2c_jax.languages.markdown.code_blocks import MARKDOWN

# Lines that are instructions to a site generator.
_MARKUP_LINE = re.compile(
    r"""^[ \t]*(?:
      \{\{[<%].*[>%]\}\}                        # Hugo's shortcodes
    | \{%.*%\} | \{\#.*\#\} | \{\{.*\}\}         # Liquid, Jinja
    | \{/\*.*\*/\}                              # MDX's comments
    | \{:.*\} | \{[.\#][^}]*\}                   # attributes of kramdown, pandoc
    | :{2,}.*                                   # containers and directives in colons
    | /{3}.*                                    # Python-Markdown's blocks
    | (?:===|!!!|\?\?\?\+?)(?:[ \t].*)?          # its containers without content
    | -*8<-*.*                                  # its snippets
    | import[ ].+[ ]from[ ]["'].+["'];? | import[ ]["'].+["'];?
    | \([\w:. -]+\)=                            # MyST's targets
    | %(?:[ \t].*)?                             # its comments
    | \+\+\+.*                                  # its breaks
    | \[\[?_?toc_?\]?\]                         # tables of contents
    | <<<.* | @\[.*\]\(.*\)                     # VitePress's and VuePress's snippets
    )[ \t]*$""",
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
_JSX = r"[ \t]*</?(?:[A-Z][\w.]*)?(?:\s(?:[^<>]|=>)*)?/?>[ \t]*"
_JSX_LINES = re.compile(rf"^(?:{_JSX})+$", re.MULTILINE)
_EXPORT = re.compile(r"export (?:const|let|default|function|async)\b")
_SHORTCODE = re.compile(r"\{\{[<%](?:(?!\{\{).)*?[>%]\}\}")  # up to the next one: many that do not close stay fast
_ATTRIBUTES = re.compile(r"[ \t]*\{:?[ \t]*[#.][^{}]*\}[ \t]*$")
_ROLE_TARGET = re.compile(r"\s*<[^<>]*>$")


def is_markup(html: str) -> bool:
    """Whether a block of HTML is nothing but the tags of JSX components, which only wrap what follows."""
    return bool(html.strip()) and not _JSX_LINES.sub("", html).strip()


def words_of(inline: Token) -> str:
    """The plain text of a heading's or paragraph's content; empty where it is all markup."""
    content = _SHORTCODE.sub("", _JSX_LINES.sub("", _MARKUP_LINE.sub("", inline.content)))
    if _EXPORT.match(content):
        return ""
    content = _ATTRIBUTES.sub("", content)
    if content == inline.content:
        return _plain(inline.children or ())
    kept = "\n".join(line for line in content.split("\n") if line.strip())
    return _plain(MARKDOWN.parseInline(kept)[0].children or ()) if kept else ""


def _plain(children: Sequence[Token]) -> str:
    parts: list[str] = []
    for child in children:
        if child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif child.type == "code_inline":
            parts.append(f"`{child.content}`")
        elif child.type == "myst_role":  # the words before the target: {ref}`the guide <guide>`
            parts.append(f"`{_ROLE_TARGET.sub('', child.content.strip('`'))}`")
        elif child.type in ("text", "text_special"):
            parts.append(child.content)
    return "".join(parts).strip()
