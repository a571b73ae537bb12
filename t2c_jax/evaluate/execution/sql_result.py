"""The result of SQL on a SQLite database in memory: the rows of its last query, and what it changed.

The program is Python's ``sqlite3`` module around the answer, and prints a digest of the result, so a large result costs
no output. The answer is SQL alone and cannot print a digest itself.
"""

from __future__ import annotations

import json
import re
from typing import Any

_PROGRAM = """\
import hashlib, json, re, sqlite3

def statements(script):
    buffer = ""
    for part in re.split("(;)", script):
        buffer += part
        if part == ";" and sqlite3.complete_statement(buffer):
            yield buffer
            buffer = ""
    yield buffer

def plain(value):
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else float(format(value, ".10g"))
    return {"bytes": value.hex()} if isinstance(value, bytes) else value

def digest(cursor):
    rows, ordered, unordered, first = 0, hashlib.sha256(), 0, None
    for row in cursor:
        values = [plain(value) for value in row]
        own = hashlib.sha256(json.dumps(values).encode()).digest()
        first = values if first is None else first
        rows += 1
        ordered.update(own)
        unordered = (unordered + int.from_bytes(own, "big")) % 2**256
    return {"rows": rows, "ordered": ordered.hexdigest(), "unordered": format(unordered, "x"), "first": first}

def state(database):
    made = "SELECT type, name, tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY 1, 2, 3"
    found = database.execute(made).fetchall()
    tables = [name.replace('"', '""') for kind, name, _ in found if kind == "table"]
    columns = [database.execute(f'PRAGMA table_info("{table}")').fetchall() for table in tables]
    contents = [digest(database.execute(f'SELECT * FROM "{table}"'))["unordered"] for table in tables]
    return hashlib.sha256(json.dumps([found, columns, contents]).encode()).hexdigest()

def opened():
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.text_factory = lambda data: data.decode("utf-8", "replace")
    database.executescript(SETUP)
    return database

database = opened()
before = database.total_changes, database.execute("PRAGMA schema_version").fetchone()
result = {"rows": 0, "ordered": "", "unordered": "0", "first": None}
for statement in statements(ANSWER):
    cursor = database.execute(statement)
    if cursor.description:
        result = digest(cursor)
changed = (database.total_changes, database.execute("PRAGMA schema_version").fetchone()) != before
after = state(database) if changed else ""
result["changes"] = "" if not changed or after == state(opened()) else after
print(json.dumps(result))
"""
# Strings, quoted names and comments.
_OPAQUE = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/", re.DOTALL)
_PART = re.compile(r"[()]|\border\s+by\b", re.IGNORECASE)


def sql_program(setup: str, answer: str) -> str:
    """Python that runs the answer on the database of ``setup``, and prints its result as JSON."""
    return f"SETUP = {setup!r}\nANSWER = {answer!r}\n{_PROGRAM}"


def sql_difference(found: str, expected: str, reference: str) -> str:
    """How a printed result differs from the reference's; empty if it does not.

    The order of rows counts where the reference itself orders them. Names of columns do not count. Numbers are equal
    to ten digits, whether they are integers or not. No rows and no query are the same.
    """
    ours, theirs = (json.loads(text) for text in (found, expected))
    if ours["changes"] != theirs["changes"]:
        return "the database afterwards differs"
    if ours["rows"] != theirs["rows"]:
        return f"{ours['rows']} rows, not {theirs['rows']}"
    if ours["rows"] and ours["unordered"] != theirs["unordered"]:
        return f"other rows: the first is {_shown(ours['first'])}, not {_shown(theirs['first'])}"
    if ours["rows"] and orders_rows(reference) and ours["ordered"] != theirs["ordered"]:
        return "other order of the rows"
    return ""


def orders_rows(sql: str) -> bool:
    """Whether a query has an ORDER BY of its own, outside of subqueries and window functions."""
    depth = 0
    for part in _PART.findall(_OPAQUE.sub(" ", sql)):
        if part in "()":
            depth += 1 if part == "(" else -1
        elif not depth:
            return True
    return False


def _shown(row: list[Any]) -> str:
    return json.dumps(row, ensure_ascii=False)
