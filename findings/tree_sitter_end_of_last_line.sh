#!/usr/bin/env bash
# Valid C and Go without a line end behind the last line has an error by tree-sitter's grammars.
#
# Versions:  tree-sitter 0.26.1, tree-sitter-c 0.24.2, tree-sitter-go 0.25.0.
# Behaviour: the line end is a token of C's directives and between Go's statements. At the end of the file it is missing:
#            root_node.has_error is True. One more line end behind the code mends it.
# Output:    c '#define ONE 1' has_error True, with a line end False
#            go 'x := f()\nprint(x)' has_error True, with a line end False
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tree-sitter==0.26.1 tree-sitter-c==0.24.2 tree-sitter-go==0.25.0
"$work/venv/bin/python" - <<'PYTHON'
import tree_sitter_c
import tree_sitter_go
from tree_sitter import Language, Parser

for module, code in ((tree_sitter_c, "#define ONE 1"), (tree_sitter_go, "x := f()\nprint(x)")):
    parser = Parser(Language(module.language()))
    without, with_end = (parser.parse(text.encode()).root_node.has_error for text in (code, f"{code}\n"))
    name = module.__name__.removeprefix("tree_sitter_")
    print(f"{name} {code!r} has_error {without}, with a line end {with_end}")
    assert without and not with_end, "changed: the line end is no longer needed, or not enough"
PYTHON
