"""Whether code is well-formed, by language. Nothing is compiled or run.

Python is parsed by the running interpreter, JSON by the standard library, other languages by tree-sitter.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from t2c_jax.languages.aliases import canonical
from t2c_jax.languages.syntax_trees import has_tree, syntax_tree

# Named nodes that state nothing. SQL's grammar calls block comments marginalia.
_NO_STATEMENTS = {"comment", "line_comment", "block_comment", "multiline_comment", "marginalia", "php_tag"}


def _python(code: str) -> bool:
    from t2c_jax.languages.python.parsing import parses_as_python

    return parses_as_python(code)


def _json(code: str) -> bool:
    try:
        json.loads(code)
    except (ValueError, RecursionError):
        return False
    return True


_PARSERS: dict[str, Callable[[str], bool]] = {"python": _python, "json": _json}


def parses(code: str, language: str) -> bool | None:
    """Whether the grammar of the language accepts the code; None for a language without a grammar here.

    The grammars of tree-sitter accept parts of a file, such as a method without its class. They accept a little more
    than compilers do, and lag behind the newest versions of languages.

    Args:
      code: blank code and code that holds only comments do not parse: they answer nothing.
      language: by any of its common names.
    """
    name = canonical(language)
    if name in _PARSERS:
        return _PARSERS[name](code)
    if not has_tree(name):
        return None
    tree = syntax_tree(f"{code}\n", name)  # some grammars demand the end of the last line
    assert tree is not None
    root = tree.root_node
    return not root.has_error and any(node.type not in _NO_STATEMENTS for node in root.named_children)
