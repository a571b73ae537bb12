"""Fenced code blocks with the heading and the paragraph that introduce them, from Markdown (CommonMark).

``text`` is the nearest heading above the block and, on the next line, the last paragraph before it, both as plain
text (links by their words, code spans in backticks). The paragraph must come right before the block: a heading,
a table, HTML or another block between them ends its say. ``code`` is the fence's content; CommonMark itself takes
off the fence's indentation and list or quote markers, and reads every line end as a line feed.

Left out, and counted: blocks without a language, those of a language that is none (console sessions, output, plain
text), interpreter and shell sessions by their prompts, and blocks that no paragraph introduces.
"""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.extractor import Extract, Extraction
from t2c_jax.languages.forms import SOURCE, text_forms

_NO_CODE = frozenset(
    [
        "ansi",
        "ascii",
        "bash-session",
        "console",
        "diff",
        "ipython",
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
        "pycon",
        "pytb",
        "raw",
        "session",
        "sh-session",
        "shell-session",
        "shellsession",
        "terminal",
        "tex",
        "text",
        "traceback",
        "txt",
    ]
)
_ALIASES = {
    "py": "python",
    "python3": "python",
    "py3": "python",
    "python2": "python",
    "sh": "shell",
    "bash": "shell",
    "zsh": "shell",
    "js": "javascript",
    "node": "javascript",
    "mjs": "javascript",
    "ts": "typescript",
    "c++": "cpp",
    "cc": "cpp",
    "cxx": "cpp",
    "hpp": "cpp",
    "rs": "rust",
    "golang": "go",
    "rb": "ruby",
    "cs": "csharp",
    "c#": "csharp",
    "yml": "yaml",
    "kt": "kotlin",
}
_BETWEEN = frozenset(
    ["hr", "code_block", "html_block", "table_close", "bullet_list_close", "ordered_list_close", "blockquote_close"]
)
_TAG = re.compile(r"[\w+#.-]+")
_PROMPT = re.compile(r"(?:>>>|\.\.\.|\$|In \[\d+\]:|[\w.@~:/-]+[$#]) ")
_MARKDOWN = MarkdownIt("commonmark").enable("table")


def extract_markdown(data: bytes, config: CorpusConfig) -> Extraction:
    """The introduced code blocks of a Markdown file; see the module's docstring."""
    found = Extraction()
    if "markdown" not in config.kinds or not text_forms[config.text].documented or config.code != SOURCE:
        return found
    try:
        source = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        found.skipped.append(("undecodable", 0))
        return found
    if "\0" in source:
        found.skipped.append(("null bytes", 0))
        return found
    heading = prose = ""
    tokens = _MARKDOWN.parse(source)
    for position, token in enumerate(tokens):
        if token.type == "inline":
            opener = tokens[position - 1].type
            if opener == "heading_open":
                heading, prose = _plain(token), ""
            elif opener == "paragraph_open":
                prose = _plain(token)
            else:
                prose = ""
        elif token.type == "fence":
            assert token.map is not None
            start, end = token.map[0] + 1, token.map[1]
            language = _language(token.info)
            code = token.content.removesuffix("\n")
            reason = _reason(language, code, prose)
            if reason:
                found.skipped.append((reason, start))
            else:
                text = "\n".join(part for part in (heading, prose) if part)
                found.extracts.append(Extract(text, code, language, "markdown", start, end))
            prose = ""
        elif token.type in _BETWEEN:
            prose = ""
    return found


def _plain(token: Token) -> str:
    parts: list[str] = []
    for child in token.children or ():
        if child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif child.type == "code_inline":
            parts.append(f"`{child.content}`")
        elif child.type in ("text", "text_special"):
            parts.append(child.content)
    return "".join(parts).strip()


def _language(info: str) -> str:
    tag = _TAG.search(info.lower())
    name = tag.group().lstrip(".") if tag else ""
    return _ALIASES.get(name, name)


def _reason(language: str, code: str, prose: str) -> str:
    if not language:
        return "code block without a language"
    if language in _NO_CODE:
        return "code block that is no code"
    if _PROMPT.match(code.lstrip()):
        return "interactive session"
    return "" if prose else "code block without introducing prose"
