#!/usr/bin/env bash
# A pasted IPython session is Python without a syntax error if its inputs are expressions or assignments.
#
# Versions:  CPython 3.11, tree-sitter 0.26.1, tree-sitter-python 0.25.0.
# Behaviour: "In [1]: total = 3" is an assignment to In[1] with the annotation "total", and "Out[1]: 3" is an annotation
#            without a value. ast.parse and tree-sitter accept both, so a check that code parses takes sessions from
#            notebooks and documentation for code. Inputs that are statements are syntax errors.
# Output:    'In [1]: total = 3\nOut[1]: 3': ast reads AnnAssign, AnnAssign; tree-sitter finds no error
#            "In [2]: print('a')\na": ast reads AnnAssign, Expr; tree-sitter finds no error
#            'In [3]: import os': ast reads nothing; tree-sitter finds an error
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tree-sitter==0.26.1 tree-sitter-python==0.25.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import ast

import tree_sitter
import tree_sitter_python

parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_python.language()))


def statements(code):
    try:
        return ", ".join(type(node).__name__ for node in ast.parse(code).body)
    except SyntaxError:
        return "nothing"


found = {}
for session in ("In [1]: total = 3\nOut[1]: 3", "In [2]: print('a')\na", "In [3]: import os"):
    fails = parser.parse(session.encode()).root_node.has_error
    found[statements(session)] = fails
    print(f"{session!r}: ast reads {statements(session)}; tree-sitter finds {'an' if fails else 'no'} error")
expected = {"AnnAssign, AnnAssign": False, "AnnAssign, Expr": False, "nothing": True}
assert found == expected, "changed: a session is not Python any more"
PYTHON
