"""Reads the formats in which sets are published: JSON lines, JSON documents, and files whose lines belong together.

Each function returns a reader of a split. What is special of a set is a function from its record to a row.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from t2c_jax.corpus.execution_fields import execution_of
from t2c_jax.corpus.sets.public_set import Reader, Row
from t2c_jax.corpus.sets.published_files import Files, NotAsPublished
from t2c_jax.languages.execution import Execution

Record = Mapping[str, Any]


def json_lines(
    names: Mapping[str, str], row: Callable[[Record], Row], belongs: Callable[[Record, str], bool] | None = None
) -> Reader:
    """A JSON object a line.

    Args:
      names: of the files of a split, which may be a pattern.
      row: makes a row of a record.
      belongs: whether a record is of a split, where a file has several.
    """

    def read(files: Files, split: str) -> Iterator[Row]:
        for name in files.matching(names[split]) or [names[split]]:
            for number, line in enumerate(files.lines(name), start=1):
                if line.strip():
                    place = f"line {number} of '{name}'"
                    record = _parsed(line, place)
                    if belongs is None or _held(belongs, place)(record, split):
                        yield _held(row, place)(record)

    return read


def json_document(
    names: Mapping[str, str], row: Callable[[Record], Row], belongs: Callable[[Record, str], bool] | None = None
) -> Reader:
    """A file with a JSON array of objects; arguments as those of ``json_lines``."""

    def read(files: Files, split: str) -> Iterator[Row]:
        name = names[split]
        records = _parsed(files.read(name), f"'{name}'")
        if not isinstance(records, list):
            raise NotAsPublished(f"'{name}' is not a JSON array")
        for number, record in enumerate(records, start=1):
            place = f"item {number} of '{name}'"
            if belongs is None or _held(belongs, place)(record, split):
                yield _held(row, place)(record)

    return read


def parallel_lines(
    names: Mapping[str, tuple[str, str]],
    row: Callable[[str, str], Row],
    lines: Mapping[str, tuple[int, int | None]] | None = None,
) -> Reader:
    """Two files, the same line of which is a pair.

    Args:
      names: of a split's files of texts and of codes.
      row: makes a row of a text and a code without surrounding space.
      lines: first and end of the lines of a split, where a file has several.
    """

    def read(files: Files, split: str) -> Iterator[Row]:
        texts, codes = (files.lines(name) for name in names[split])
        first, end = lines[split] if lines else (0, None)
        pairs = itertools.zip_longest(texts, codes)
        for number, (text, code) in enumerate(itertools.islice(pairs, first, end), start=first + 1):
            if text is None or code is None:
                shorter = names[split][text is not None]
                raise NotAsPublished(f"'{shorter}' ends before line {number}")
            yield row(text.strip(), code.strip())

    return read


def tab_separated(names: Mapping[str, str]) -> Reader:
    """A text, a tab and a code on each line."""

    def read(files: Files, split: str) -> Iterator[Row]:
        for number, line in enumerate(files.lines(names[split]), start=1):
            text, tab, code = line.partition("\t")
            if not tab:
                raise NotAsPublished(f"line {number} of '{names[split]}' has no tab")
            yield {"text": text.strip(), "code": code.strip()}

    return read


def humaneval_row(record: Record) -> Row:
    """The prompt asks for the body of a function; ``check`` tests the function."""
    return {
        "id": record["task_id"],
        "text": record["prompt"],
        "code": record["canonical_solution"],
        "tests": _tests(record, "prompt", "test", "entry_point"),
    }


def mbpp_row(record: Record) -> Row:
    """The text is that of the paper's prompts: it ends with the tests, since they alone name the function."""
    asserts = "\n".join(record["test_list"])
    text = record["text"] if "text" in record else record["prompt"]
    return {
        "id": f"mbpp/{record['task_id']}",
        "text": f"{text} Your code should pass these tests:\n{asserts}",
        "code": record["code"].replace("\r\n", "\n"),
        "tests": _tests(record, "test_list"),
    }


def mbpp_split(record: Record, split: str) -> bool:
    """By task id, as the paper's section 2.1: 11-510 is test, 511-600 dev; 1-10 are the paper's prompts, train here."""
    task = record["task_id"]
    return split == ("test" if 11 <= task <= 510 else "dev" if 511 <= task <= 600 else "train")


def odex_row(record: Record) -> Row:
    """The answer is an expression or statements within the function of the prompt."""
    return {
        "group": str(record["task_id"]),
        "text": record["intent"],
        "code": record["canonical_solution"],
        "tests": _tests(record, "prompt", "suffix", "test_start", "test", "entry_point"),
    }


def _tests(record: Record, *needed: str) -> Execution:
    """The tests of a record in a published form."""
    for name in needed:
        record[name]
    tests = execution_of(record)
    if tests is None:
        raise TypeError
    return tests


def conala_row(record: Record) -> Row:
    """The question as rewritten, where it was, else as asked; snippets of one question are one group."""
    text = record.get("rewritten_intent") or record["intent"]
    return {"group": str(record["question_id"]), "text": text.strip(), "code": record["snippet"].strip()}


def tldr_row(record: Record) -> Row:
    """Examples of one command are one group."""
    return {"group": record["cmd_name"], "text": record["nl"].strip(), "code": record["cmd"].strip()}


def command_row(text: str, code: str) -> Row:
    """Pairs of one command are one group, as the authors' script for splitting keeps them together."""
    return {"text": text, "code": code, "group": code}


def plain_row(text: str, code: str) -> Row:
    """The text and the code."""
    return {"text": text, "code": code}


def hearthstone_row(text: str, code: str) -> Row:
    """A card and the class of it, whose line ends are published as ``§``."""
    return {"text": text, "code": code.replace("§", "\n").strip("\n")}


def concode_row(record: Record) -> Row:
    """The description and the members of the class, joined as CodeXGLUE publishes them."""
    return {"text": record["nl"].strip(), "code": record["code"].strip()}


def code_search_net_row(record: Record) -> Row:
    """A documented function, without its docstring where the code holds it (Python's); repositories are groups."""
    return {
        "group": record["repo"],
        "text": record["docstring"].strip(),
        "code": without_docstring(record["code"], record["docstring"]),
    }


def without_docstring(code: str, docstring: str) -> str:
    """Python code without the string after its header, if that holds the docstring."""
    opening = _OPENING.search(code)
    if opening is None:
        return code
    start = opening.end()
    end = code.find(opening["quotes"], start)
    words = docstring.split()
    if end < 0 or words[:_COMPARED] != code[start:end].split()[:_COMPARED]:
        return code
    after = code[end + len(opening["quotes"]) :].lstrip(" \t;").removeprefix("\n")
    return code[: opening.start("line")] + after if after.strip() else code


_OPENING = re.compile(r':[^\S\n]*(?:#[^\n]*)?\n\s*?(?P<line>[^\S\n]*)[rRuU]?(?P<quotes>"""|\'\'\'|"|\')')
_COMPARED = 5  # words that tell the docstring from another string


def spider(names: Mapping[str, str], tables: str) -> Reader:
    """Questions about databases.

    The text is the question and the schema, as ``question | database | table : column , column | …`` (Shaw et al. 2021,
    "Compositional Generalization and Natural Language Variation"). Where the databases are beside the questions, the
    answers of dev can be run: each pair has the script that makes its database, unless that is longer than
    ``SCRIPT_CHARS``.

    Args:
      names: of a split's file.
      tables: the file of the schemas.
    """

    def read(files: Files, split: str) -> Iterator[Row]:
        documents = _parsed(files.read(tables), f"'{tables}'")
        script_of = functools.cache(lambda database: _script(files.path(f"{database}.sqlite")))
        schemas = {each["db_id"]: _held(_schema, f"'{tables}'")(each) for each in documents}

        def row(record: Record) -> Row:
            database = record["db_id"]
            text = f"{record['question'].strip()} | {database} | {schemas[database]}"
            found = {"group": database, "text": text, "code": record["query"].strip()}
            script = script_of(database) if split == "dev" else ""
            return {**found, "tests": Execution(setup=script)} if script else found

        yield from json_document(names, row)(files, split)

    return read


def _schema(record: Record) -> str:
    columns: list[list[str]] = [[] for _ in record["table_names_original"]]
    for table, column in record["column_names_original"]:
        if table >= 0:
            columns[table].append(column)
    tables: Sequence[str] = record["table_names_original"]
    return " | ".join(f"{name} : {' , '.join(held)}" for name, held in zip(tables, columns, strict=True))


SCRIPT_CHARS = 400_000  # each question of a database repeats the script


def _script(path: Path | None) -> str:
    """The script that makes an SQLite database; empty for none, and for one that is too long."""
    if path is None:
        return ""
    lines: list[str] = []
    size = 0
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.text_factory = lambda text: text.decode("utf-8", "replace")
            for line in database.iterdump():
                lines.append(line)
                size += len(line) + 1
                if size > SCRIPT_CHARS:
                    return ""
    except sqlite3.Error as error:
        raise NotAsPublished(f"'{path.name}' is damaged: {error}") from None
    return "\n".join(lines)


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise NotAsPublished(f"{place} is not JSON") from None


def _held(function: Callable[..., Any], place: str) -> Callable[..., Any]:
    """The function, with what it lacks in a record said with the place."""

    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except NotAsPublished:
            raise
        except KeyError as error:
            raise NotAsPublished(f"{place} has no {error}") from None
        except (AttributeError, TypeError, IndexError, ValueError):
            raise NotAsPublished(f"{place} has another form than the published set") from None

    return call
