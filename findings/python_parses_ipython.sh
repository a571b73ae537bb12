#!/usr/bin/env bash
# A pasted IPython session is valid Python if its inputs are expressions or assignments.
#
# Versions:  CPython 3.11.
# Behaviour: "In [1]: total = 3" is an assignment to In[1] with the annotation "total", and "Out[1]: 3" is an annotation
#            without a value. ast.parse and compile accept both, so a check that code parses takes sessions from notebooks
#            and documentation for code. Inputs that are statements, and outputs that are none, are syntax errors.
# Output:    'In [1]: total = 3\nOut[1]: 3': AnnAssign, AnnAssign
#            "In [2]: print('a')\na": AnnAssign, Expr
#            'In [3]: import os': SyntaxError
set -euo pipefail
"${PYTHON:-python3}" - <<'PYTHON'
import ast


def statements(code):
    try:
        return ", ".join(type(node).__name__ for node in ast.parse(code).body)
    except SyntaxError:
        return "SyntaxError"


found = {}
for session in ("In [1]: total = 3\nOut[1]: 3", "In [2]: print('a')\na", "In [3]: import os"):
    found[session] = statements(session)
    print(f"{session!r}: {found[session]}")
first, second, third = found.values()
assert first == "AnnAssign, AnnAssign", "changed: a session is no Python"
assert second == "AnnAssign, Expr"
assert third == "SyntaxError"
PYTHON
