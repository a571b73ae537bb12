#!/usr/bin/env bash
# sqlglot "parses" anything that begins with REPLACE, ALTER or EXPLAIN, also where it is no SQL.
#
# Versions:  sqlglot 30.30.0, dialect sqlite.
# Behaviour: what it does not know behind such a word is kept as text in a Command, and a warning is logged. No error is
#            raised, so "parse_one raised nothing" does not say that a statement is SQL. REPLACE INTO, which SQLite
#            reads, is always a Command, while INSERT OR REPLACE INTO is an Insert.
# Output:    REPLACE INTO t VALUES (1): Command
#            REPLACE INTO t VALUES (((: Command
#            EXPLAIN (((: Command
#            INSERT OR REPLACE INTO t VALUES (1): Insert
#            SELECT a FROM: ParseError
# Advice:    refuse a tree whose root is a Command.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check sqlglot==30.30.0
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import logging

import sqlglot

logging.disable(logging.WARNING)
found = []
for statement in (
    "REPLACE INTO t VALUES (1)",
    "REPLACE INTO t VALUES (((",
    "EXPLAIN (((",
    "INSERT OR REPLACE INTO t VALUES (1)",
    "SELECT a FROM",
):
    try:
        found.append(type(sqlglot.parse_one(statement, dialect="sqlite")).__name__)
    except sqlglot.errors.SqlglotError as error:
        found.append(type(error).__name__)
    print(f"{statement}: {found[-1]}")
assert found == ["Command", "Command", "Command", "Insert", "ParseError"], "changed: they are parsed or refused"
PYTHON
