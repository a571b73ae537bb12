"""The code of a mined statement as ``ast.unparse`` writes it: without comments and docstring, in one layout.

Comments and layout are nothing that a text says. Without them there is less to learn, and equal code is equal text.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

from t2c_jax.languages.forms import CodeForm, NoPair, code_forms

Writer = Callable[[ast.stmt], str]


def _reader(tree: ast.Module) -> Writer:
    return _unparsed


def _unparsed(node: ast.stmt) -> str:
    from t2c_jax.languages.python.extractor import without_docstring
    from t2c_jax.languages.python.source_lines import is_code_of

    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        node = without_docstring(node)
        if not node.body:
            raise NoPair("nothing but a docstring")
    try:
        code = ast.unparse(node)
    except ValueError:  # before Python 3.12, an f-string whose parts need a backslash has no spelling
        raise NoPair("not reproducible") from None
    if not is_code_of(code, node):
        raise NoPair("not reproducible")
    return code


code_forms.register("unparsed")(CodeForm("python", ("function", "method", "class", "check"), _reader))
