"""Where a pair comes from: the lines of its source, and whether they still give the pair byte for byte."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus import commits, tested_functions
from t2c_jax.corpus.archives import ArchiveTree, read_archive
from t2c_jax.corpus.dataset import count_pairs, read_pairs
from t2c_jax.corpus.git_commands import read_git
from t2c_jax.corpus.mine import FilesInMemory, TreeOrigin, UnreadableFile, mine_files, read_below
from t2c_jax.corpus.pairs import FILE_KIND, SPLITS, Pair
from t2c_jax.corpus.pairs_file.pair_reader import read_dataset, read_file
from t2c_jax.corpus.rules import PairRules
from t2c_jax.corpus.shards import ShardSummary
from t2c_jax.corpus.source_report import SourceReport
from t2c_jax.corpus.sources import FileTree, PairsDataset, PairsFile, resolve_all
from t2c_jax.corpus.tally import Tally
from t2c_jax.errors import UserError
from t2c_jax.languages.extractor import extractor_for
from t2c_jax.workdir import Workdir


@dataclass(frozen=True)
class PairOrigin:
    """What was found of a pair's source.

    Attributes:
      pair: as the corpus has it.
      file: the path of the file that was read, or what stands for it; empty if the source is not there.
      lines: of the file, from ``pair.source.start_line`` to ``end_line``, without line ends; of a dataset its example.
      equal: whether the source gives the pair's text and code byte for byte; None if the source is not there.
      note: what differs, or why nothing was found; empty if nothing is to be said.
    """

    pair: Pair
    file: str = ""
    lines: tuple[str, ...] = ()
    equal: bool | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**dataclasses.asdict(self), "pair": self.pair.to_dict()}


def find_pair(workdir: Workdir, pair_id: str) -> Pair:
    """The pair of this id in the corpus of a workdir.

    Raises:
      UserError: there is no corpus, or no such pair in it.
    """
    for split in SPLITS:
        if count_pairs(workdir, split):
            for pair in read_pairs(workdir, split):
                if pair.id == pair_id:
                    return pair
    raise UserError(
        f"the corpus of '{workdir.name}' has no pair '{pair_id}'; ids are in the corpus, and in predictions.jsonl of"
        " its evaluations"
    )


def find_origin(pair: Pair, config: CorpusConfig, skip: Path) -> PairOrigin:
    """Reads the lines of a pair's source, and makes the pair again from them.

    Args:
      pair: of a corpus.
      config: that the corpus was made with.
      skip: see ``sources.resolve_all``.

    Raises:
      UserError: a source of the config is missing or damaged.
    """
    source = pair.source
    for found in resolve_all(config, skip):
        if isinstance(found, FileTree):
            if found.repository == source.repository and source.path.startswith(found.prefix):
                return _in_tree(pair, config, found)
        elif isinstance(found, ArchiveTree):
            if found.repository == source.repository:
                return _in_archive(pair, config, found)
        elif isinstance(found, PairsFile):
            if pair.kind == FILE_KIND and (found.folder, found.place) == (source.repository, source.path):
                return _in_file(pair, config, found)
        elif pair.kind == FILE_KIND and found.full_name == source.repository:
            return _in_dataset(pair, found)
    return PairOrigin(pair, note=f"no source of config.corpus.sources is '{source.repository}' any more")


def _in_tree(pair: Pair, config: CorpusConfig, tree: FileTree) -> PairOrigin:
    source = pair.source
    path = source.path.removeprefix(tree.prefix)
    file, data, note = str(tree.root / path), None, ""
    if tree.commit != source.commit:
        note = f"the source is at {tree.commit or 'no commit'} now, the pair is of {source.commit or 'no commit'}"
        commit = source.commit.removesuffix("-dirty")
        if commit and commit == source.commit:
            data = read_git(tree.root, "cat-file", "blob", f"{commit}:{source.path}")
        if data is not None:
            file, note = f"{commit}:{source.path}", ""
    if data is None:
        try:
            data = read_below(str(tree.root), path, config.max_file_bytes)
        except UnreadableFile as error:
            return PairOrigin(pair, note=f"'{file}': {error}")
    return _in_data(pair, config, tree, file, path, data, note)


def _in_archive(pair: Pair, config: CorpusConfig, archive: ArchiveTree) -> PairOrigin:
    file = f"{archive.path}:{archive.top}{pair.source.path}"
    for path, data in read_archive(archive, config.max_file_bytes):
        if path == pair.source.path:
            if isinstance(data, str):
                return PairOrigin(pair, note=f"'{file}': {data}")
            return _in_data(pair, config, None, file, path, data)
    return PairOrigin(pair, note=f"'{archive.path}' has no file '{pair.source.path}' any more")


def _in_data(
    pair: Pair, config: CorpusConfig, tree: FileTree | None, file: str, path: str, data: bytes, note: str = ""
) -> PairOrigin:
    source = pair.source
    lines = data.decode("utf-8", "replace").split("\n")[source.start_line - 1 : source.end_line]
    again = _mined_again(pair, config, tree, path, data)
    origin = PairOrigin(pair, file, tuple(line.removesuffix("\r") for line in lines), None, note)
    if again is None:
        return dataclasses.replace(origin, equal=False, note=note or "the file gives no pair of these lines any more")
    equal = (again.text, again.code, again.language) == (pair.text, pair.code, pair.language)
    return dataclasses.replace(origin, equal=equal, note=note or ("" if equal else "the file gives another pair now"))


def _mined_again(pair: Pair, config: CorpusConfig, tree: FileTree | None, path: str, data: bytes) -> Pair | None:
    source = pair.source
    found: Iterable[Pair] = ()
    if pair.kind == commits.KIND and tree is not None:
        found = commits.mine_commits(tree, config, Tally(), source.commit, most=1)
    elif pair.kind == tested_functions.KIND and tree is not None:
        found = tested_functions.mine_tests(tree, config, Tally())
    elif extractor_for(path, config.extractors) is not None:
        prefix = source.path.removesuffix(path)
        files = FilesInMemory(TreeOrigin(source.repository, source.commit, source.licence, prefix), (path,), (data,))
        found = mine_files(files, config, ShardSummary())
    rules = PairRules(config)
    for mined in found:
        if mined.source == source and mined.kind == pair.kind:
            kept = rules(mined)
            if isinstance(kept, Pair) and ((kept.text, kept.code) == (pair.text, pair.code) or mined.id == pair.id):
                return kept
    return None


def _in_file(pair: Pair, config: CorpusConfig, file: PairsFile) -> PairOrigin:
    report = SourceReport(file.name)
    for candidate in read_file(file, config, report, io.StringIO(), lambda: None):
        if candidate.pair.source == pair.source:
            return _compared(pair, candidate.pair, str(file.path))
    return PairOrigin(pair, str(file.path), equal=False, note="the file has no pair at this line any more")


def _in_dataset(pair: Pair, dataset: PairsDataset) -> PairOrigin:
    for candidate in read_dataset(dataset, SourceReport(dataset.name), lambda: None):
        if candidate.pair.source == pair.source:
            return _compared(pair, candidate.pair, dataset.name)
    return PairOrigin(pair, dataset.name, equal=False, note="the dataset has no such example any more")


def _compared(pair: Pair, read: Pair, file: str) -> PairOrigin:
    equal = (read.text, read.code) == (pair.text, pair.code)
    lines = (*read.text.split("\n"), *read.code.split("\n"))
    return PairOrigin(pair, file, lines, equal, "" if equal else "the file holds another pair there now")
