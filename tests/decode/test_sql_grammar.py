# ruff: noqa: E501, SIM905  (tables of texts)
"""The SQL grammar: queries as people write them are accepted, and sqlglot and SQLite read whatever is accepted."""

import functools
import logging
import sqlite3

import pytest
from grammar_examples import (
    Pieces,
    accepts,
    counterexamples,
    made_queries,
    mutants,
    queries,
    random_walks,
    tokenizer_over,
)

from t2c_jax.decode.grammar.compiled import Grammar

sqlglot = pytest.importorskip("sqlglot")

PIECES = [
    *("|, |,|(|)| (|) |;|*|.|=| = | < | <> | + | - |-|--|/|/*| % | & | << |~|'a'|''|\"q\"|[z]|`w`|1|1.5|.5|x'ab'|?|:p|->>".split("|")), " || ", "\n",
    *"a b t x date year name type key row first left list COUNT(*) count( SUM( MAX( COALESCE( SUBSTR( DATE( LAG( GROUP_CONCAT( ROUND(".split(),
    *"LENGTH( IIF( REPLACE( CAST( json_extract( random() strftime( OVER( ROW_NUMBER() IN(".split(),
    *(f"{word} " for word in "SELECT DISTINCT CASE WITH INSERT UPDATE DELETE CREATE DROP ALTER NOT VALUES EXISTS TABLE VIEW INDEX UNIQUE TEMP IF PRIMARY FOREIGN CONSTRAINT PARTITION ORDER WHEN CHECK REPLACE".split()),
    *(f" {word} " for word in "FROM WHERE GROUP BY HAVING ORDER LIMIT OFFSET ASC DESC NULLS FIRST LAST UNION ALL INTERSECT EXCEPT JOIN LEFT RIGHT FULL OUTER INNER CROSS NATURAL ON USING AS AND OR NOT IN IS NULL LIKE ESCAPE GLOB BETWEEN WHEN THEN ELSE END INTO SET RETURNING DEFAULT COLLATE NOCASE REFERENCES CASCADE RENAME TO ADD COLUMN DROP OVER ROWS UNBOUNDED PRECEDING FOLLOWING CURRENT ROW FILTER ISNULL NOTNULL WINDOW CONFLICT DO NOTHING UPDATE KEY INTEGER TEXT VARCHAR DISTINCT RECURSIVE VALUES EXISTS".split()),
]  # fmt: skip
CLOSERS = ["'", '"', "`", ")", "]", " END ", " FROM ", " AS ", " THEN ", "WHEN ", " BY ", " SET ", " = ", " TO ", " ON ", " (", "a", "t", "1", " ", "SELECT "]  # fmt: skip


@functools.cache
def grammar():
    return Grammar.compile("sql", tokenizer_over("sql"))


def parsers_read(query):
    """Whether sqlglot parses a statement as SQLite's and SQLite's own parser finds no syntax error."""
    try:
        parsed = sqlglot.parse_one(query, dialect="sqlite")
    except sqlglot.errors.SqlglotError:
        return False
    if isinstance(parsed, sqlglot.exp.Command) and not query.lower().startswith("replace"):
        return False  # what sqlglot does not know, REPLACE among it, it keeps as text
    with sqlite3.connect(":memory:") as database:
        try:
            database.execute(f"EXPLAIN {query}")
        except sqlite3.OperationalError as error:
            return not any(fault in str(error) for fault in ("syntax error", "incomplete input", "unrecognized token"))
        except sqlite3.ProgrammingError as error:
            return "bindings" in str(error)
    return True


@pytest.fixture(autouse=True)
def silent_sqlglot():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def test_queries_are_accepted_token_by_token():
    tokenizer, texts = tokenizer_over("sql"), [*queries(), *made_queries(400, seed=1)]
    rejected = [query for query in texts if not accepts(grammar(), tokenizer, query)]
    assert rejected == [
        "SELECT COUNT( * ) FROM t WHERE ( a=1 )AND( b=2 )",  # a keyword right behind a parenthesis
        "select a from t where(b in(1,2))and not(c)",
        "SELECT a FROM t -- all of them",  # a comment
    ]


def test_the_examples_are_valid():
    assert counterexamples([*queries(), *made_queries(400, seed=1)], parsers_read) == []


REJECTED = [
    "", "SELECT", "SELECT ", "SELECT FROM t", "SELECT a FROM", "SELECT a, FROM t", "SELECTa FROM t", "SELECT a FROM t WHERE",
    "SELECT a FROM t WHERE a =", "SELECT a FROM t WHERE a = 1 AND", "SELECT a FROM t WHERE AND a", "SELECT a b c FROM t", "SELECT (a FROM t",
    "SELECT a) FROM t", "SELECT 'a FROM t", 'SELECT "a FROM t', "SELECT [a FROM t", "SELECT '' '' FROM t", "SELECT a FROM t ORDER a",
    "SELECT a FROM t GROUP a", "SELECT a FROM t LIMIT", "SELECT a FROM t LIMIT 1 WHERE b", "SELECT a FROM t ORDER BY a WHERE b",
    "SELECT a FROM t UNION", "SELECT a FROM t ORDER BY a UNION SELECT b FROM u", "SELECT a FROM t JOIN", "SELECT a FROM t JOIN u ON", "SELECT a FROM t ON a",
    "SELECT COUNT( FROM t", "SELECT COUNT(*, a) FROM t", "SELECT ABS() FROM t", "SELECT ABS(a, b) FROM t", "SELECT unknown_function(a) FROM t",
    "SELECT CASE END FROM t", "SELECT CASE WHEN a THEN b FROM t", "SELECT CASE WHEN a ELSE b END", "SELECT CAST(a TEXT)", "SELECT CAST(a AS) FROM t",
    "SELECT a IN FROM t", "SELECT a IN () FROM t", "SELECT a BETWEEN 1 FROM t", "SELECT a LIKE FROM t", "SELECT NOT FROM t", "SELECT a NOT b", "SELECT a--1",
    "SELECT a - - - 1", "SELECT 1a", "SELECT a; SELECT b", "SELECT a;;", "SELECT * * FROM t", "SELECT t.* AS a FROM t", "WITH a AS SELECT 1 SELECT 2",
    "WITH a AS (SELECT 1)", "INSERT t VALUES (1)", "INSERT INTO t (a) VALUES", "INSERT INTO t (a) VALUES ()", "INSERT INTO t VALUES 1",
    "UPDATE t a = 1", "UPDATE t SET", "UPDATE t SET a == 1", "UPDATE t SET a = 1, WHERE b", "DELETE t", "DELETE * FROM t", "CREATE TABLE t", "CREATE TABLE t ()",
    "CREATE TABLE (a)", "CREATE TABLE t (a,)", "CREATE TABLE t (PRIMARY KEY (a))", "CREATE VIEW v SELECT 1", "CREATE INDEX ON t (a)", "DROP t", "DROP TABLE",
    "ALTER TABLE t", "ALTER TABLE t RENAME a", "SELECT order FROM t", "SELECT a FROM select", "SELECT a AS from FROM t", "SELECT a FROM t left",
    "\u017felect a", "SELECT a FROM t WHERE a li\u212ae 'x'", "SELECT a FROM t FETCH FIRST 1 ROWS ONLY", "SELECT TOP 5 a FROM t", "SELECT a FROM t\0",
    "SELECT PARTITION BY", "SELECT a FROM PARTITION BY", "SELECT a FROM t ORDER BY a ISNULL COLLATE NOCASE", "CREATE TABLE t (a DEFAULT -true)",
]  # fmt: skip


@pytest.mark.parametrize("text", REJECTED)
def test_what_is_no_statement_is_rejected(text):
    assert not accepts(grammar(), tokenizer_over("sql"), text)


def test_random_walks_over_pieces_are_read_by_both_parsers():
    pieces = Pieces(PIECES)
    walks = random_walks(Grammar.compile("sql", pieces), pieces.surfaces, pieces.eos, CLOSERS, 300)
    assert counterexamples(walks, parsers_read) == []


def test_random_walks_over_the_tokens_of_a_model_are_read_by_both_parsers():
    tokenizer = tokenizer_over("sql")
    walks = random_walks(grammar(), tokenizer.surfaces, tokenizer.eos, CLOSERS, 150)
    assert counterexamples(walks, parsers_read) == []


def test_accepted_mutations_are_read_by_both_parsers():
    tokenizer = tokenizer_over("sql")
    found = mutants([*queries(), *made_queries(100)], PIECES, 3000, seed=0)
    accepted = [text for text in found if accepts(grammar(), tokenizer, text)]
    assert len(accepted) > 200
    assert counterexamples(accepted, parsers_read) == []
