"""Markdown's blocks: CommonMark with tables and the containers and roles of the common site generators."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token
from mdit_py_plugins.container import container_plugin
from mdit_py_plugins.myst_role import myst_role_plugin

COLON_CONTAINER, INDENTED_CONTAINER = "container_colon", "container_indented"
"""What the types of the containers' tokens begin with; ``_open`` or ``_close`` follows."""

_FRONT_MATTER = re.compile(
    r"(?:[ \t]*\n)*(?:---[ \t]*\n(?P<yaml>.*?)^(?:---|\.\.\.)|\+\+\+[ \t]*\n.*?^\+\+\+)[ \t]*(?:\n|\Z)",
    re.DOTALL | re.MULTILINE,
)
_YAML = re.compile(r"(?:[ \t]*(?:#.*)?\n)*(?:[\w\"'.$-][^:\n]*:|- |[{\[]|\Z)")  # no prose between two rules
_KERNEL = re.compile(r"^[ \t]*(?:language|name):[ \t]*[\"']?([\w+#.-]+)", re.MULTILINE)
# What jupytext and Quarto write.
_MAIN_LANGUAGE = re.compile(r"^[ \t]*(?:main_language|jupyter):[ \t]*[\"']?([\w+#.-]+)", re.MULTILINE)
_COLON_CODE = re.compile(
    r"^([ \t]*)(:{3,})([ \t]*\{(?:code|code-block|code-cell|sourcecode)\}.*\n(?:.*\n)*?)[ \t]*\2[ \t]*$", re.MULTILINE
)
_COLON_OPTIONS = re.compile(r"^([ \t]*:{3,}[ \t]*\{.*\n)((?:[ \t]*:[\w-]+:(?:[ \t].*)?\n)+)", re.MULTILINE)
_INDENTED = re.compile(r"(?:===[!+]*|!!!|\?\?\?\+?)[ \t]+\S")


def split_front_matter(source: str) -> tuple[str, int, str]:
    """A page without its front matter.

    Args:
      source: the page, with line feeds alone.

    Returns:
      The rest of the page, how many lines were before it, and the name of the Jupyter kernel or its language, which the
      front matter of a notebook gives; empty where it gives none.
    """
    found = _FRONT_MATTER.match(source)
    if not found or (found["yaml"] is not None and not _YAML.match(found["yaml"])):
        return source, 0, ""
    _, kernelspec, fields = (found["yaml"] or "").partition("kernelspec:")
    kernel = (_KERNEL.search(fields) if kernelspec else None) or _MAIN_LANGUAGE.search(found["yaml"] or "")
    return source[found.end() :], source.count("\n", 0, found.end()), kernel[1] if kernel else ""


def parse(source: str) -> list[Token]:
    """The tokens of a page or of a part of one."""
    source = _COLON_CODE.sub(_as_fence, source)
    return MARKDOWN.parse(_COLON_OPTIONS.sub(lambda found: found[1] + "\n" * found[2].count("\n"), source))


def _as_fence(found: re.Match[str]) -> str:
    """MyST's fences of colons hold code as other fences do, where the directive is one of code."""
    indent, _, rest = found.groups()
    return f"{indent}~~~~~~~~{rest}{indent}~~~~~~~~"


def _indented_container(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Python-Markdown's admonitions (``!!!``, ``???``) and tabs (``===``): what is indented by four below a title.

    The plugin for admonitions knows no tabs, and ends a container at two blank lines.
    """
    if state.is_code_block(start):
        return False
    title = state.src[state.bMarks[start] + state.tShift[start] : state.eMarks[start]]
    if not _INDENTED.match(title):
        return False
    if silent:
        return True
    indent = state.sCount[start] + 4
    last = start + 1
    for line in range(start + 1, end):
        if not state.isEmpty(line):
            if state.sCount[line] < indent:
                break
            last = line + 1
    before = state.parentType, state.lineMax, state.blkIndent
    token = state.push(f"{INDENTED_CONTAINER}_open", "div", 1)
    token.markup = title[:3]
    token.map = [start, last]
    state.parentType, state.lineMax, state.blkIndent = "container", last, indent
    state.md.block.tokenize(state, start + 1, last)
    state.parentType, state.lineMax, state.blkIndent = before
    state.push(f"{INDENTED_CONTAINER}_close", "div", -1).markup = title[:3]
    state.line = last
    return True


def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark").enable("table").use(myst_role_plugin)
    # A line of colons alone ends a container and begins none.
    markdown.use(
        container_plugin,
        COLON_CONTAINER.removeprefix("container_"),
        marker=":",
        validate=lambda parameters, markup: bool(parameters.strip()),
    )
    interrupts: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote", "list"]}
    markdown.block.ruler.before("fence", INDENTED_CONTAINER, _indented_container, interrupts)
    return markdown


MARKDOWN = _markdown()
