"""Tests and the functions that they test, across the Python files of a source.

``text`` is the test, ``code`` the function or method as it is written, docstring included; the pair's lines are the
function's. A test and a function are a pair if the test calls it and begins with its name, or if it is the only
function of the source that the test calls and their files are a pair by name, as ``test_a.py`` and ``a.py``. Where
several functions fit, there is no pair.

The files of tests are read first, then the others for the functions that tests call. Both are read in worker processes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.mine import UnreadableFile, read_below
from t2c_jax.corpus.pairs import Pair, Source, origin_id
from t2c_jax.corpus.sources import FileTree
from t2c_jax.corpus.tally import Tally, readable
from t2c_jax.languages.python.python_tests import (
    Called,
    Defined,
    PythonTest,
    is_test_file,
    read_definitions,
    read_tests,
    subject_of,
)
from t2c_jax.workers import Failure, cores, isolated_map

KIND = "test"
_SECONDS = 60.0


class _Place(NamedTuple):
    path: str
    module: str
    definition: Defined


def mine_tests(tree: FileTree, config: CorpusConfig, skipped: Tally) -> Iterator[Pair]:
    """The pairs of a source, in the order of the tests.

    Args:
      tree: the source.
      config: for the files that are read.
      skipped: counts the tests that make no pair.
    """
    files = [path for path in tree.files if path.endswith(".py")]
    tests = [path for path in files if is_test_file(path)]
    found = list(_read(tree, config, tests, read_tests))
    names = frozenset(called.name for _, cases in found for case in cases for called in case.called)
    if not names:
        return
    places: dict[str, list[_Place]] = {}
    reader = functools.partial(read_definitions, names=names)
    for path, definitions in _read(tree, config, [path for path in files if not is_test_file(path)], reader):
        for definition in definitions:
            places.setdefault(definition.name, []).append(_Place(path, _module(f"{tree.root.name}/{path}"), definition))
    for path, cases in found:
        for case in cases:
            place = _tested(case, path, places)
            if place is None:
                skipped.add("test of no single function of the source", f"{path}: {case.name}")
                continue
            yield _pair(tree, case, place)


def _pair(tree: FileTree, case: PythonTest, place: _Place) -> Pair:
    definition = place.definition
    lines = (definition.first_line, definition.last_line)
    source = Source(tree.repository, tree.commit, readable(tree.prefix + place.path), *lines, tree.licence)
    return Pair(origin_id(source, f"{KIND} {case.name}"), case.code, definition.code, "python", KIND, source)


def _read(
    tree: FileTree, config: CorpusConfig, paths: Sequence[str], read: Callable[[bytes], list[Any]]
) -> Iterator[tuple[str, list[Any]]]:
    reader = functools.partial(_read_one, str(tree.root), config.max_file_bytes, read)
    workers = max(1, min(cores(), len(paths)))
    for path, result in zip(paths, isolated_map(reader, paths, workers, _SECONDS), strict=True):
        if not isinstance(result, Failure):
            yield path, result


def _read_one(root: str, limit: int, read: Callable[[bytes], list[Any]], path: str) -> list[Any]:
    try:
        return read(read_below(root, path, limit))
    except UnreadableFile:
        return []


def _module(path: str) -> str:
    parts = PurePosixPath(path).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _tested(case: PythonTest, path: str, places: dict[str, list[_Place]]) -> _Place | None:
    """What the test is about; None if that is not one function."""
    fitting = {called: _fitting(called, places.get(called.name, ())) for called in case.called}
    known = {called: found[0] for called, found in fitting.items() if len(found) == 1}
    name = subject_of(case.name, {called.name for called in known})
    chosen = {place for called, place in known.items() if called.name == name}
    if not name:
        module = PurePosixPath(path).stem.removeprefix("test_").removesuffix("_test")
        chosen = set(known.values())
        if any(PurePosixPath(place.path).stem != module for place in chosen):
            return None
    return chosen.pop() if len(chosen) == 1 else None


def _fitting(called: Called, places: Sequence[_Place]) -> list[_Place]:
    """The definitions that a call may mean. A package often offers what its modules define."""
    if called.class_name:
        return [place for place in places if place.definition.class_name == called.class_name]
    module = f".{called.module}"
    exact = [place for place in places if not place.definition.class_name and f".{place.module}".endswith(module)]
    if exact:
        return exact
    return [
        place
        for place in places
        if not place.definition.class_name and called.module and f".{place.module}.".find(f"{module}.") >= 0
    ]
