"""Mines files on all cores: a stream of pairs in the order of the paths, whatever the files hold."""

from __future__ import annotations

import errno
import functools
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.pairs import Pair, Source, origin_id
from t2c_jax.corpus.rules import FileRules
from t2c_jax.corpus.sources import FileTree
from t2c_jax.corpus.tally import Tally, readable
from t2c_jax.languages.extractor import Extraction, extractor_for
from t2c_jax.workers import Failure, cores, isolated_map

SECONDS_PER_FILE = 60.0  # the slowest file of the standard library takes under one


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pair on its way into the corpus.

    Attributes:
      pair: as read; ``split`` only where its file names one.
      group: pairs of one group are in one split; empty for mined pairs, which ``splits`` groups by module.
    """

    pair: Pair
    group: str = ""


@dataclass
class SourceReport:
    """What was read of one source.

    Attributes:
      name: as the config names it.
      split: of a file of pairs: that of lines that name none, by the file's name; empty if their splits are random.
      repository: see ``pairs.Source``; empty for files of pairs, as are the next two.
      commit: see ``pairs.Source``.
      licence: see ``pairs.Source``.
      files: files that an extractor read to their end.
      lines: of a file of pairs; examples of a dataset.
      malformed: lines among them that are not a pair.
      pairs: found, before cleaning.
      skipped: files and candidates that make no pair, by reason.
    """

    name: str
    split: str = ""
    repository: str = ""
    commit: str = ""
    licence: str = ""
    files: int = 0
    lines: int = 0
    malformed: int = 0
    pairs: int = 0
    skipped: Tally = field(default_factory=Tally)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the card."""
        return {**vars(self), "skipped": self.skipped.to_dict()}


def mine_tree(
    tree: FileTree,
    config: CorpusConfig,
    report: SourceReport,
    advance: Callable[[], object],
    workers: int | None = None,
) -> Iterator[Candidate]:
    """Every pair of a tree's files, the same whatever the number of workers.

    Args:
      tree: what ``sources.resolve`` found.
      config: what to extract.
      report: filled on the way.
      advance: called after each file.
      workers: processes; all cores by default, and never more than there are files.
    """
    report.skipped.update(tree.skipped)
    read = functools.partial(_read, str(tree.root), config)
    count = max(1, min(workers or cores(), len(tree.files)))
    results = isolated_map(read, tree.files, count, SECONDS_PER_FILE)
    for path, result in zip(tree.files, results, strict=True):
        advance()
        if isinstance(result, Failure):
            report.skipped.add(result.reason, path)
            continue
        report.files += 1
        for reason, line in result.skipped:
            report.skipped.add(reason, f"{path}:{line}" if line else path)
        for extract in result.extracts:
            source = Source(
                repository=tree.repository,
                commit=tree.commit,
                path=readable(tree.prefix + path),
                start_line=extract.start_line,
                end_line=extract.end_line,
                licence=tree.licence,
            )
            report.pairs += 1
            pair_id = origin_id(source, extract.kind)
            yield Candidate(
                Pair(
                    pair_id,
                    extract.text,
                    extract.code,
                    extract.language,
                    extract.kind,
                    source,
                    tests=extract.tests,
                )
            )


def _read(root: str, config: CorpusConfig, path: str) -> Extraction | Failure:
    try:
        data = _bytes_of(os.path.join(root, path), config.max_file_bytes)
    except OSError as error:
        return Failure(f"unreadable file ({errno.errorcode.get(error.errno or 0, 'unknown')})")
    if isinstance(data, Failure):
        return data
    if reason := FileRules(config)(path, data):
        return Failure(reason)
    extractor = extractor_for(path, config.extractors)
    assert extractor is not None  # or the file would not be listed
    return extractor.extract(data, path, config)


def _bytes_of(path: str, limit: int) -> bytes | Failure:
    """The file's bytes. It is checked again, since after listing it may have become a pipe, or grown."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return Failure("not a regular file")
        data = file.read(limit + 1)
    return Failure("larger than max_file_bytes") if len(data) > limit else data
