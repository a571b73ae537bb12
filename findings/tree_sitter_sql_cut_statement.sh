#!/usr/bin/env bash
# A SQL statement that tree-sitter's grammar does not know ends early, as a shorter statement without an error.
#
# Versions:  tree-sitter 0.26.1, tree-sitter-sql 0.3.13.
# Behaviour: "FETCH", "TABLESAMPLE" and "OFFSET" before what the grammar lacks become an alias of the table. The error is
#            a sibling of the statement, so a check of the statement's own node (has_error) finds it whole.
# Output:    SELECT a FROM t FETCH FIRST 3 ROWS ONLY -> 'SELECT a FROM t FETCH', has_error False
#            SELECT * FROM t TABLESAMPLE SYSTEM (10) -> 'SELECT * FROM t TABLESAMPLE', has_error False
#            SELECT a FROM t OFFSET 3 ROWS -> 'SELECT a FROM t OFFSET', has_error False
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tree-sitter==0.26.1 tree-sitter-sql==0.3.13
"$work/venv/bin/python" - <<'PYTHON'
import tree_sitter_sql
from tree_sitter import Language, Parser

parser = Parser(Language(tree_sitter_sql.language()))
for tail, read in (
    ("SELECT a FROM t FETCH FIRST 3 ROWS ONLY", "SELECT a FROM t FETCH"),
    ("SELECT * FROM t TABLESAMPLE SYSTEM (10)", "SELECT * FROM t TABLESAMPLE"),
    ("SELECT a FROM t OFFSET 3 ROWS", "SELECT a FROM t OFFSET"),
):
    root = parser.parse(f"{tail};".encode()).root_node
    statement = root.children[0]
    print(f"{tail} -> {statement.text.decode()!r}, has_error {statement.has_error}")
    assert root.has_error, "changed: the grammar knows the statement"
    assert (statement.type, statement.text.decode(), statement.has_error) == ("statement", read, False), "changed"
PYTHON
