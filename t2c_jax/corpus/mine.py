"""Mines a part of the sources into a shard: a pure function of the files and the config, for worker processes."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.held_out import HeldOut
from t2c_jax.corpus.licences import file_licence
from t2c_jax.corpus.pairs import Candidate, Pair, Source, origin_id
from t2c_jax.corpus.rules import FileRules, PairRules
from t2c_jax.corpus.rules.redaction import shown_to_people
from t2c_jax.corpus.shards import ShardPairs, ShardSummary
from t2c_jax.corpus.sources import PairsFile
from t2c_jax.corpus.tally import readable
from t2c_jax.errors import UserError
from t2c_jax.languages.extractor import extractor_for
from t2c_jax.workers import begin


@dataclass(frozen=True, slots=True)
class TreeOrigin:
    """What the pairs of a source have in common; see ``sources.FileTree``."""

    repository: str
    commit: str
    licence: str
    prefix: str


@dataclass(frozen=True, slots=True)
class FilesOnDisk:
    """Files under a directory, which a worker opens itself."""

    origin: TreeOrigin
    root: str
    paths: tuple[str, ...]

    def read(self, index: int, limit: int) -> bytes:
        """See ``Files``."""
        return read_below(self.root, self.paths[index], limit)


@dataclass(frozen=True, slots=True)
class FilesInMemory:
    """Files of an archive, which the parent has read; instead of their bytes, why they could not be read."""

    origin: TreeOrigin
    paths: tuple[str, ...]
    contents: tuple[bytes | str, ...]

    @classmethod
    def of(cls, origin: TreeOrigin, files: Sequence[tuple[str, bytes | str]]) -> FilesInMemory:
        """The files, given as paths and contents."""
        return cls(origin, tuple(path for path, _ in files), tuple(content for _, content in files))

    def read(self, index: int, limit: int) -> bytes:
        """See ``Files``."""
        content = self.contents[index]
        if isinstance(content, str):
            raise UnreadableFile(content)
        if len(content) > limit:
            raise UnreadableFile("larger than max_file_bytes")
        return content


Files = FilesOnDisk | FilesInMemory
"""A part of a source: ``read(index, limit)`` gives the bytes of ``paths[index]`` or raises ``UnreadableFile``."""


@dataclass(frozen=True, slots=True)
class ShardPart:
    """What becomes one shard.

    Attributes:
      shard: the path of the shard.
      content: files to mine, or pairs that a file of pairs or a dataset holds.
      failures: files that are not read again, by their index, with the reason.
    """

    shard: str
    content: Files | tuple[Candidate, ...]
    failures: Mapping[int, str] = field(default_factory=dict)


class UnreadableFile(Exception):
    """Why a file cannot be read."""


@dataclass(frozen=True)
class ShardMaker:
    """Makes shards of parts; picklable, for worker processes.

    Attributes:
      config: what to extract, and the rules.
      held_out: files of pairs whose code no pair may repeat.
    """

    config: CorpusConfig
    held_out: tuple[PairsFile, ...] = ()

    def __call__(self, part: ShardPart) -> OSError | UserError | None:
        """Writes the shard of a part; returns what the user can mend, such as a full disk."""
        try:
            self.collect(part).write(Path(part.shard))
        except (OSError, UserError) as error:
            return error
        return None

    def collect(self, part: ShardPart) -> ShardPairs:
        """The pairs of a part that keep the rules."""
        shard = ShardPairs(self.config)
        if isinstance(part.content, tuple):
            candidates: Iterable[Candidate] = part.content
        else:
            candidates = map(Candidate, mine_files(part.content, self.config, shard.summary, part.failures))
        pairs: list[tuple[Pair, str]] = []
        for candidate in candidates:
            kept = self._rules[not candidate.group](candidate.pair, shard.summary.replaced)
            if isinstance(kept, str):
                _drop(shard.summary, candidate.pair, kept)
            else:
                pairs.append((kept, candidate.group))
        overlaps = self._overlaps.rules([pair.code for pair, _ in pairs]) if self._overlaps else itertools.repeat("")
        for (pair, group), rule in zip(pairs, overlaps, strict=False):
            if rule:
                _drop(shard.summary, pair, rule)
            else:
                shard.add(pair, group)
        return shard

    @functools.cached_property
    def _rules(self) -> dict[bool, PairRules]:
        return {mined: PairRules(self.config, mined) for mined in (True, False)}

    @functools.cached_property
    def _overlaps(self) -> HeldOut | None:
        return HeldOut.read(self.held_out, self.config) if self.held_out else None


def _drop(summary: ShardSummary, pair: Pair, rule: str) -> None:
    summary.dropped.add(rule, str(pair.source), lambda: shown_to_people(pair))


def mine_files(
    files: Files, config: CorpusConfig, summary: ShardSummary, failures: Mapping[int, str] | None = None
) -> Iterator[Pair]:
    """Every pair of some files, before the rules for pairs.

    Args:
      files: what to read.
      config: what to extract.
      summary: filled on the way.
      failures: see ``ShardPart``.
    """
    file_rules, origin = FileRules(config), files.origin
    for index, path in enumerate(files.paths):
        if failures and index in failures:
            summary.skipped.add(failures[index], path)
            continue
        begin(index)
        try:
            data = files.read(index, config.max_file_bytes)
        except UnreadableFile as error:
            summary.skipped.add(str(error), path)
            continue
        if rule := file_rules(path, data):
            summary.skipped.add(rule, path)
            continue
        extractor = extractor_for(path, config.extractors)
        assert extractor is not None  # or the file would not be listed
        try:
            found = extractor.extract(data, path, config)
        except Exception as error:  # an extractor that another package brings may raise anything
            summary.skipped.add(f"{type(error).__name__} in the extractor", path)
            continue
        summary.files += 1
        licence = file_licence(data) or origin.licence
        for reason, line in found.skipped:
            summary.skipped.add(reason, f"{path}:{line}" if line else path)
        for extract in found.extracts:
            source = Source(
                repository=origin.repository,
                commit=origin.commit,
                path=readable(origin.prefix + path),
                start_line=extract.start_line,
                end_line=extract.end_line,
                licence=licence,
            )
            summary.pairs += 1
            pair_id = origin_id(source, extract.kind)
            yield Pair(pair_id, extract.text, extract.code, extract.language, extract.kind, source, tests=extract.tests)


_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def read_below(root: str, path: str, limit: int) -> bytes:
    """The bytes of a file under ``root``.

    The file is checked again, since after listing it may have become a pipe, or grown. No symbolic link below the root
    is followed, not even one that has replaced a directory: it may lead out of the root.

    Args:
      root: a directory.
      path: relative to it, with forward slashes.
      limit: bytes; a longer file is not read.

    Raises:
      UnreadableFile: with the reason.
    """
    *directories, name = path.split("/")
    with contextlib.ExitStack() as opened:
        try:
            place = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, place)
            for directory in directories:
                place = os.open(directory, _DIRECTORY, dir_fd=place)
                opened.callback(os.close, place)
            file = opened.enter_context(open(os.open(name, _FILE, dir_fd=place), "rb"))
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnreadableFile("not a regular file")
            data = file.read(limit + 1)
        except OSError as error:
            code = errno.errorcode.get(error.errno or 0, "unknown")
            raise UnreadableFile(f"unreadable file ({code})") from None
    if len(data) > limit:
        raise UnreadableFile("larger than max_file_bytes")
    return data
