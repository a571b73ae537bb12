"""Execution match: SQL on a database, shell scripts on files."""

import dataclasses
import shutil

import pytest
from evaluate_examples import pair

from t2c_jax.config import ExecutionConfig
from t2c_jax.errors import UserError
from t2c_jax.evaluate.execution import executor
from t2c_jax.evaluate.execution.executor import Executor
from t2c_jax.evaluate.execution.sql_result import orders_rows
from t2c_jax.languages.execution import Execution

LIMITS = ExecutionConfig(cpu_seconds=0.5, memory_mib=256)
DATABASE = """
CREATE TABLE city (name TEXT, country TEXT, people REAL);
INSERT INTO city VALUES ('Bonn', 'de', 0.3), ('Rome', 'it', 2.8), ('Pisa', 'it', 0.1), ('Köln', 'de', 1.1);
CREATE TABLE "odd ""name" (a); INSERT INTO "odd ""name" VALUES (1), (1), (NULL), (x'00ff');
CREATE VIEW big AS SELECT * FROM city WHERE people > 1;
"""
FILES = {"a.txt": "one\ntwo\n", "b/c.txt": "three\n", "b/d e.log": "", "empty/": ""}


@pytest.fixture(scope="module", autouse=True)
def sandbox():
    """Skips where this machine has no isolation."""
    try:
        Executor(LIMITS).require()
    except UserError as reason:
        pytest.skip(str(reason))


def outcomes(language, reference, answers, **tests):
    made = dataclasses.replace(pair("a", "text", reference, language=language), tests=Execution(**tests))
    (trial,) = Executor(LIMITS).run([made], [answers])
    return trial


# A reference, the answers that do the same, and those that do not.
SQL = [
    (
        "SELECT name FROM city WHERE country = 'it'",
        [
            "select NAME as other from city where country in ('it') order by people;",
            "SELECT 'Pisa' UNION SELECT 'Rome'",
        ],
        [
            "SELECT name FROM city",
            "SELECT name, country FROM city WHERE country = 'it'",
            "SELECT 'Pisa' UNION SELECT 'Ro'",
        ],
    ),
    (
        "SELECT name FROM city ORDER BY people DESC",
        ["SELECT name FROM city ORDER BY -people"],
        ["SELECT name FROM city ORDER BY people", "SELECT name FROM city"],
    ),
    (
        "SELECT country, SUM(people) FROM city GROUP BY country",
        [
            "SELECT country, SUM(people) + 1e-13 FROM city GROUP BY 1 ORDER BY 2",
            "SELECT 'it', 2.9 UNION SELECT 'de', 1.4",
        ],
        [
            "SELECT country, COUNT(*) FROM city GROUP BY country",
            "SELECT SUM(people), country FROM city GROUP BY country",
        ],
    ),
    ("SELECT COUNT(*) FROM city", ["SELECT 4.0", "SELECT 1; SELECT 4;"], ["SELECT '4'", "SELECT 4 UNION ALL SELECT 4"]),
    ('SELECT a FROM "odd ""name"', ["SELECT a FROM 'odd \"name'"], ['SELECT DISTINCT a FROM "odd ""name"']),
    (
        "DELETE FROM city WHERE people < 1",
        [
            "DELETE FROM city WHERE name IN ('Bonn', 'Pisa'); -- small",
            "BEGIN; DELETE FROM city WHERE people < 1; COMMIT",
        ],
        ["SELECT 1", "DELETE FROM city", "UPDATE city SET people = people", "DELETE FROM town WHERE people < 1"],
    ),
    (
        "CREATE TABLE copy AS SELECT * FROM city",
        ["CREATE TABLE copy (name TEXT, country TEXT, people REAL); INSERT INTO copy SELECT * FROM city"],
        ["CREATE TABLE copy (name TEXT, country TEXT, people REAL)", "CREATE VIEW copy AS SELECT * FROM city"],
    ),
    (
        "SELECT name FROM big",
        ["SELECT name FROM city WHERE people > 1"],
        ["DROP TABLE city", "SELECT name FROM city WHERE people > 1; DELETE FROM city", "SELECT name FROM", "no SQL"],
    ),
]


@pytest.mark.parametrize(("reference", "same", "other"), SQL)
def test_sql(reference, same, other):
    trial = outcomes("sql", reference, [reference, *same, *other], setup=DATABASE)
    assert not trial.left_out, trial
    found = [each.status == "passed" for each in trial.judgements]
    assert found == [True, *[True] * len(same), *[False] * len(other)], trial.judgements


def test_reasons_of_sql():
    reference = "SELECT name, people FROM city ORDER BY name LIMIT 2"
    answers = {
        "SELECT name FROM city": "4 rows, not 2",
        "SELECT name, 1 FROM city LIMIT 2": 'other rows: the first is ["Bonn", 1], not ["Bonn", 0.3]',
        "SELECT * FROM (SELECT name, people FROM city ORDER BY name LIMIT 2) ORDER BY -people": "other order",
        "SELECT nam FROM city": "sqlite3.OperationalError: no such column: nam",
        f"{reference}; DROP TABLE city": "the database afterwards differs",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i FROM n": "used more than",
    }
    trial = outcomes("sql", reference, [*answers], setup=DATABASE)
    for found, reason in zip(trial.judgements, answers.values(), strict=True):
        assert found.message.startswith(reason), found


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("SELECT a FROM b ORDER  BY a", True),
        ("select a from b order\nby a limit 3", True),
        ("SELECT a FROM (SELECT a FROM b ORDER BY a)", False),
        ("SELECT RANK() OVER (ORDER BY a) FROM b", False),
        ("SELECT 'order by' FROM \"order by\" -- order by\n/* order by */", False),
        ("SELECT a FROM (SELECT ')' FROM b) ORDER BY a", True),
        ("WITH c AS (SELECT 1 ORDER BY 1) SELECT * FROM c", False),
        ("SELECT border, by FROM b", False),
    ],
)
def test_whether_a_query_orders_its_rows(sql, ordered):
    assert orders_rows(sql) is ordered


@pytest.mark.parametrize(
    ("language", "reference", "reason"),
    [
        ("sql", "SELECT name FROM city WHERE people > 9", executor.EMPTY_PASSES),
        ("sql", "UPDATE city SET people = people", executor.EMPTY_PASSES),
        ("sql", "SELECT RANDOM()", executor.CHANGES),
        ("sql", "SELECT nothing FROM city", executor.FAILS),
        ("bash", "true", executor.EMPTY_PASSES),
        ("bash", "if true; then ( done", executor.NOT_COMPILED),
        ("bash", "echo 'a", executor.NOT_COMPILED),
        ("bash", "echo $RANDOM$RANDOM$RANDOM", executor.CHANGES),
    ],
)
def test_references_that_decide_nothing_are_left_out(language, reference, reason):
    tests = {"setup": DATABASE} if language == "sql" else {"files": FILES}
    assert outcomes(language, reference, ["x"], **tests).left_out == reason


SHELL = [
    (
        "grep -c o a.txt",
        ["awk '/o/ { n++ } END { print n }' a.txt", "echo '2  '"],
        ["grep o a.txt", "echo 3", "no_such a"],
    ),
    ("find . -name '*.txt' | sort", ["find . -type f -name '*.txt' | LC_ALL=C sort"], ["ls *.txt"]),
    (
        "mv b/c.txt empty/",
        ["cat b/c.txt > empty/c.txt && rm b/c.txt", "mv b/c.txt empty; exit 3"],
        ["cp b/c.txt empty/", "rm b/c.txt", "mv b/c.txt empty/; echo done", "mv b/c.txt empty/; mkdir more"],
    ),
    ("chmod 600 a.txt", ["chmod u=rw,go= a.txt"], ["chmod 644 a.txt; :", "chmod 400 a.txt"]),
    ("ln -s a.txt link", ["ln --symbolic a.txt link"], ["cp a.txt link", "ln -s b link"]),
    ("rm -r b", ["rm b/*; rmdir b"], ["rm b/c.txt", "rm -r b empty", "kill -9 $PPID"]),
    ("sort -r", ["cat | sort -r"], ["cat"]),
]


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(("reference", "same", "other"), SHELL)
def test_shell(reference, same, other):
    trial = outcomes("bash", reference, [reference, *same, *other], files=FILES, stdin="a\nb\n")
    assert not trial.left_out, trial
    found = [each.status == "passed" for each in trial.judgements]
    assert found == [True, *[True] * len(same), *[False] * len(other)], trial.judgements


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_reasons_of_a_shell_script():
    answers = {
        "mv b/c.txt x": "'empty/c.txt' is missing",
        "mv b/c.txt empty/; touch y": "'y' should not be there",
        "mv b/c.txt empty/; echo > a.txt": "'a.txt' differs",
        "mv b/c.txt empty/; chmod 600 empty/c.txt": "permissions differ",
        "no_such_command": "'b/c.txt' should not be there",
        "no_such_command; echo x": "the output differs (bash: line 1: no_such_command: command not found)",
        "while :; do :; done": "used more than 0.5 s of CPU time",
    }
    trial = outcomes("bash", "mv b/c.txt empty/", [*answers], files=FILES)
    for found, reason in zip(trial.judgements, answers.values(), strict=True):
        assert found.message.startswith(reason), found
