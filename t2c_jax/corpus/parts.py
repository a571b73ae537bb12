"""Cuts the sources into parts, and makes a shard of each in worker processes.

How a source is cut depends on its files alone, not on the workers. So a build that was killed finds the shards that it
finished: they lie under ``WORKDIR/.corpus.shards``, in a directory for each source whose name is a digest of the source
and of all that its pairs depend on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from t2c_jax import version
from t2c_jax.config import CorpusConfig, to_dict
from t2c_jax.corpus import commits, tested_functions
from t2c_jax.corpus.archives import ArchiveTree, read_archive
from t2c_jax.corpus.mine import Files, FilesInMemory, FilesOnDisk, ShardMaker, ShardPart, TreeOrigin
from t2c_jax.corpus.pairs import Candidate, Pair
from t2c_jax.corpus.pairs_file.pair_reader import read_dataset, read_file
from t2c_jax.corpus.shards import Shard
from t2c_jax.corpus.source_report import SourceReport
from t2c_jax.corpus.sources import FileTree, PairsFile, Resolved
from t2c_jax.errors import UserError
from t2c_jax.languages.document_code import makes_pairs
from t2c_jax.workdir import digest
from t2c_jax.workers import Failure, cores, isolated_map

SHARDS = ".corpus.shards"
SECONDS_PER_FILE = 60.0  # the slowest file of the standard library takes under one
MEMORY_PER_WORKER = 2 << 30  # a grammar of tree-sitter may take gigabytes for a few kilobytes of nonsense
_PARTS = 100  # of a tree, so that all workers end at about the same time and little is lost when they are killed
_FEWEST_FILES, _MOST_FILES = 8, 256  # of a part
_PAIRS = 2_000  # of a part of a file of pairs
_BYTES = 4_000_000  # of a part of an archive
_ATTEMPTS = 3  # at a part whose worker dies in no file


@dataclass(frozen=True)
class SourcePlan:
    """A source, and where its shards are."""

    source: Resolved
    report: SourceReport
    directory: Path

    def shard(self, number: int) -> Path:
        """The path of a shard."""
        return self.directory / f"{number:06d}.npz"


def plans(
    directory: Path, config: CorpusConfig, sources: Sequence[Resolved], reports: Sequence[SourceReport], versions: str
) -> list[SourcePlan]:
    """A plan for each source; shards of anything else are deleted.

    Args:
      directory: of all shards.
      config: of the corpus.
      sources: what was resolved.
      reports: one for each source.
      versions: of all else that the pairs depend on, such as extractors and held-out files.
    """
    values = {name: value for name, value in to_dict(config).items() if name != "sources"}
    shared = json.dumps([version.__version__, versions, values], sort_keys=True)
    found = [
        SourcePlan(source, report, directory / digest(shared, source.name, source.digest))
        for source, report in zip(sources, reports, strict=True)
    ]
    kept = {plan.directory.name for plan in found}
    for stale in directory.iterdir() if directory.is_dir() else ():
        if stale.name not in kept:
            shutil.rmtree(stale, ignore_errors=True)
    for plan in found:
        plan.directory.mkdir(parents=True, exist_ok=True)
    return found


def make_shards(
    plan: Sequence[SourcePlan],
    maker: ShardMaker,
    quarantine: IO[str],
    advance: Callable[[int], object],
    run: RunParts,
) -> list[Shard]:
    """Makes the shards that are not there yet, and returns all of them in the order of the sources.

    Args:
      plan: one for each source; the reports are filled.
      maker: makes a shard.
      quarantine: see ``pairs_file.read_file``.
      advance: called with the number of files that are done.
      run: makes the shards of parts.

    Raises:
      UserError: a source of pairs is damaged, or workers die whatever they read.
    """
    paths: list[tuple[SourcePlan, Path]] = []
    run(maker, _missing(plan, maker.config, quarantine, paths, advance), advance)
    shards = []
    for owner, path in paths:
        shard = Shard.open(path)
        if shard is None:
            raise UserError(f"'{path}' was written but cannot be read; run the same command again")
        owner.report.add(shard.summary)
        shards.append(shard)
    return shards


class RunParts(Protocol):
    """Makes the shards of parts."""

    def __call__(self, maker: ShardMaker, parts: Iterator[ShardPart], advance: Callable[[int], object]) -> None:
        """Calls ``maker`` with every part, and ``advance`` with the number of files that are done."""


def run_here(
    maker: ShardMaker, parts: Iterator[ShardPart], advance: Callable[[int], object], workers: int | None = None
) -> None:
    """``RunParts`` in worker processes of this machine; all cores by default."""
    queue = _Queue(parts)
    made = (maker, queue, workers or cores())
    with contextlib.closing(isolated_map(*made, SECONDS_PER_FILE, MEMORY_PER_WORKER)) as results:
        for result in results:
            part, attempts = queue.sent.popleft()
            if isinstance(result, Failure):
                queue.again.append(_next_attempt(part, result, attempts))
            elif result is not None:
                raise result
            elif not isinstance(part.content, tuple):
                advance(len(part.content.paths))


def _missing(
    plan: Sequence[SourcePlan],
    config: CorpusConfig,
    quarantine: IO[str],
    paths: list[tuple[SourcePlan, Path]],
    advance: Callable[[int], object],
) -> Iterator[ShardPart]:
    """The parts without a shard; the paths of all shards are appended to ``paths``."""
    for each in plan:
        for number, content in enumerate(_contents(each, config, quarantine, advance)):
            path = each.shard(number)
            paths.append((each, path))
            if Shard.open(path) is None:
                yield ShardPart(str(path), content)


def _contents(
    plan: SourcePlan, config: CorpusConfig, quarantine: IO[str], advance: Callable[[int], object]
) -> Iterator[Files | tuple[Candidate, ...]]:
    source = plan.source
    if isinstance(source, FileTree):
        plan.report.skipped.update(source.skipped)
        yield from tree_parts(source)
        for kind, mine in _ACROSS_FILES.items():
            if kind in config.kinds and makes_pairs(config):
                yield from _batched(_counted(mine(source, config, plan.report.skipped), plan.report))
    elif isinstance(source, ArchiveTree):
        plan.report.skipped.update(source.skipped)
        yield from _archive_parts(source, config.max_file_bytes)
    elif isinstance(source, PairsFile):
        read = read_file(source, config, plan.report, quarantine, lambda: advance(1))
        yield from _batched(read)
    else:
        yield from _batched(read_dataset(source, plan.report, lambda: advance(1)))


_ACROSS_FILES = {commits.KIND: commits.mine_commits, tested_functions.KIND: tested_functions.mine_tests}
"""Kinds of pairs that no file yields on its own."""


def _counted(pairs: Iterable[Pair], report: SourceReport) -> Iterator[Candidate]:
    for pair in pairs:
        report.pairs += 1
        yield Candidate(pair)


def finished_files(plan: Sequence[SourcePlan]) -> int:
    """The files of trees whose shards are there."""
    return sum(
        len(part.paths)
        for each in plan
        if isinstance(each.source, FileTree)
        for number, part in enumerate(tree_parts(each.source))
        if each.shard(number).exists()
    )


def tree_parts(tree: FileTree) -> Iterator[FilesOnDisk]:
    """The files of a tree, some at a time."""
    origin = TreeOrigin(tree.repository, tree.commit, tree.licence, tree.prefix)
    size = max(_FEWEST_FILES, min(_MOST_FILES, len(tree.files) // _PARTS))
    for first in range(0, len(tree.files), size):
        yield FilesOnDisk(origin, str(tree.root), tree.files[first : first + size])


def _archive_parts(archive: ArchiveTree, max_file_bytes: int) -> Iterator[FilesInMemory]:
    origin = TreeOrigin(archive.repository, archive.commit, archive.licence, "")
    files: list[tuple[str, bytes | str]] = []
    size = 0
    for file in read_archive(archive, max_file_bytes):
        files.append(file)
        size += len(file[1])
        if len(files) == _MOST_FILES or size > _BYTES:
            yield FilesInMemory.of(origin, files)
            files, size = [], 0
    if files:
        yield FilesInMemory.of(origin, files)


def _batched(candidates: Iterable[Candidate]) -> Iterator[tuple[Candidate, ...]]:
    stream = iter(candidates)
    while batch := tuple(itertools.islice(stream, _PAIRS)):
        yield batch


class _Queue(Iterator[ShardPart]):
    """Parts in order, and then those that failed, without the file that they failed at."""

    def __init__(self, parts: Iterator[ShardPart]) -> None:
        self._parts = parts
        self.again: deque[tuple[ShardPart, int]] = deque()
        self.sent: deque[tuple[ShardPart, int]] = deque()  # in the order in which results come

    def __next__(self) -> ShardPart:
        self.sent.append(self.again.popleft() if self.again else (next(self._parts), 1))
        return self.sent[-1][0]


def _next_attempt(part: ShardPart, failure: Failure, attempts: int) -> tuple[ShardPart, int]:
    if failure.part is not None:
        return dataclasses.replace(part, failures={**part.failures, failure.part: failure.reason}), attempts
    if attempts == _ATTEMPTS:
        raise UserError(
            f"a part of the sources cannot be mined: {failure.reason}, {attempts} times; free some memory"
            " and disk space and run the same command again"
        )
    return part, attempts + 1
