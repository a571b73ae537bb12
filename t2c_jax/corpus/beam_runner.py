"""Mining and near-duplicates in Apache Beam, for more files than one machine reads in time.

The work is the same functions over the same parts, so the corpus is the same, byte for byte, whatever runs it:

- each part of the sources becomes a shard in a worker (``parts.run_here``, with its own process and time limits);
- near-duplicates are found by prefixes, as in ``languages.near_duplicates``: sets are grouped by their rare shingles,
  and the similarity of those that meet in a group is computed.

What is decided of a few numbers a pair, such as splits, stays in the process that starts the pipelines, with some 100
bytes of memory for each pair, and so does writing the dataset. Sources and the workdir must be on a file system that
all workers mount. Beam has an environment of its own (``constraints-beam.txt``), and nothing is downloaded at run time:
DirectRunner is Beam's portable runner in this process, not the one that fetches a binary.
"""

from __future__ import annotations

import contextlib
import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from t2c_jax.corpus.mine import ShardMaker, ShardPart
from t2c_jax.corpus.parts import run_here
from t2c_jax.corpus.shards import Shard
from t2c_jax.errors import UserError
from t2c_jax.languages.near_duplicates import (
    ShingleCounts,
    TokenSets,
    jaccard,
    leaders_of_pairs,
    prefix_lengths,
    sizes_allow,
)

_BATCH = 16  # parts that share a process
_COUNT_BITS = 20  # the order of shingles by their counts need not be exact
_SHARDS, _FAILURE = "shards.pickle", "failure.pickle"


class _Kept(NamedTuple):
    """A shard, and which of its pairs are kept: the place of the first one among all kept pairs."""

    shard: Shard
    kept: NDArray[np.bool_]
    first: int


@dataclass(frozen=True)
class BeamRunner:
    """Runs pipelines.

    Attributes:
      name: of Beam's runner.
      options: of the pipelines, as on Beam's command line.
    """

    name: str
    options: tuple[str, ...] = ()

    def run_parts(self, maker: ShardMaker, parts: Iterator[ShardPart], advance: Callable[[int], object]) -> None:
        """``parts.RunParts``: the parts are written to files first, since they may hold the pairs of a source."""
        waiting: list[str] = []
        files = 0
        directory = None
        for part in parts:
            path = Path(part.shard).with_suffix(".part")
            path.write_bytes(pickle.dumps(part))
            waiting.append(str(path))
            directory = path.parents[1]
            files += 0 if isinstance(part.content, tuple) else len(part.content.paths)
        if directory is None:
            return
        listing = directory / "parts.pickle"
        listing.write_bytes(pickle.dumps((maker, waiting)))
        try:
            self._run(lambda pipeline: _mining(pipeline, str(listing)), listing.with_name(_FAILURE))
        finally:
            for path in (*map(Path, waiting), listing, listing.with_name(_FAILURE)):
                path.unlink(missing_ok=True)
        advance(files)

    def leaders(
        self,
        shards: Sequence[Shard],
        kept: NDArray[np.bool_],
        ranks: NDArray[np.int64],
        spared: NDArray[np.bool_],
        threshold: float,
    ) -> NDArray[np.int64]:
        """``duplicates.LeadersOf``."""
        directory = shards[0].path.parents[1] / "near-duplicates"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        chosen, position, first = [], 0, 0
        for shard in shards:
            part = kept[position : position + len(shard.rows)]
            chosen.append(_Kept(shard, part, first))
            position, first = position + len(part), first + int(part.sum())
        (directory / _SHARDS).write_bytes(pickle.dumps(chosen))
        self._run(lambda pipeline: _near_duplicates(pipeline, str(directory), threshold), directory / _FAILURE)
        lines = (line.split() for path in directory.glob("pairs-*") for line in path.read_text().splitlines())
        pairs = np.array([[int(value) for value in line] for line in lines], np.int64).reshape(-1, 2)
        shutil.rmtree(directory)
        return leaders_of_pairs(pairs, ranks, spared)

    def _run(self, build: Callable[[Any], object], failure: Path) -> None:
        """Runs a pipeline; where it fails, raises what a worker has left in the file ``failure``, if it has."""
        try:
            import apache_beam as beam
            from apache_beam.options.pipeline_options import PipelineOptions
            from apache_beam.runners.portability.fn_api_runner import FnApiRunner
        except ImportError:
            raise UserError(
                "--runner needs Apache Beam, in an environment of its own: pip install -c constraints-beam.txt -e"
                " '.[beam]'"
            ) from None
        direct = self.name == "DirectRunner"
        given = self.options if direct else (f"--runner={self.name}", *self.options)
        try:
            with beam.Pipeline(FnApiRunner() if direct else None, PipelineOptions(list(given))) as pipeline:
                build(pipeline)
        except Exception:
            with contextlib.suppress(FileNotFoundError):
                raise pickle.loads(failure.read_bytes()) from None
            raise


def _mining(pipeline: Any, listing: str) -> None:
    import apache_beam as beam

    (
        pipeline
        | beam.Create([listing])
        | "list the parts" >> beam.FlatMap(_batches)
        | "spread the parts" >> beam.Reshuffle()
        | "make the shards" >> beam.Map(_make, listing)
    )


def _batches(listing: str) -> Iterator[list[str]]:
    _, paths = pickle.loads(Path(listing).read_bytes())
    for first in range(0, len(paths), _BATCH):
        yield paths[first : first + _BATCH]


def _make(paths: Sequence[str], listing: str) -> None:
    maker, _ = pickle.loads(Path(listing).read_bytes())
    parts = (pickle.loads(Path(path).read_bytes()) for path in paths)
    try:
        run_here(maker, iter(parts), lambda count: None, workers=1)
    except (OSError, UserError) as error:  # Beam would make a long text of it
        Path(listing).with_name(_FAILURE).write_bytes(pickle.dumps(error))
        raise


def _near_duplicates(pipeline: Any, directory: str, threshold: float) -> None:
    import apache_beam as beam

    shards = (
        pipeline
        | beam.Create([f"{directory}/{_SHARDS}"])
        | "list the shards" >> beam.FlatMap(lambda path: pickle.loads(Path(path).read_bytes()))
        | "spread the shards" >> beam.Reshuffle()
    )
    counts = (
        shards
        | "count shingles" >> beam.Map(_counted)
        | "add the counts" >> beam.CombineGlobally(_sum).without_defaults()
    )
    sets = shards | "read sets" >> beam.FlatMap(_sets)
    proposed = (
        sets
        | "take prefixes" >> beam.FlatMap(_prefix, beam.pvalue.AsSingleton(counts), threshold)
        | "group by shingle" >> beam.GroupByKey()
        | "propose pairs" >> beam.FlatMapTuple(lambda shingle, members: _proposed(members, threshold))
        | "each pair once" >> beam.Distinct()
    )
    halves = (
        {"sets": sets, "pairs": proposed}
        | "join the first sets" >> beam.CoGroupByKey()
        | "send the first sets" >> beam.FlatMapTuple(_sent)
    )
    (
        {"sets": sets, "others": halves}
        | "join the other sets" >> beam.CoGroupByKey()
        | "compare" >> beam.FlatMapTuple(lambda other, found: _alike(other, found, threshold))
        | "write" >> beam.io.WriteToText(f"{directory}/pairs")
    )


def _token_sets(chosen: _Kept) -> TokenSets:
    counts = chosen.shard.rows["shingles"].astype(np.int64)
    values = chosen.shard.shingles()[np.repeat(chosen.kept, counts)]
    return TokenSets(values, np.cumsum(counts[chosen.kept]))


def _counted(chosen: _Kept) -> NDArray[np.uint32]:
    return ShingleCounts.of_values(_token_sets(chosen).values, _COUNT_BITS).table


def _sum(tables: Iterable[NDArray[np.uint32]]) -> NDArray[np.uint32]:
    return sum(tables, np.zeros(1 << _COUNT_BITS, np.uint32))


def _sets(chosen: _Kept) -> Iterator[tuple[int, bytes]]:
    sets = _token_sets(chosen)
    begin = 0
    for place, end in enumerate(sets.ends.tolist(), start=chosen.first):
        if end > begin:
            yield place, sets.values[begin:end].tobytes()
        begin = end


def _prefix(
    numbered: tuple[int, bytes], table: NDArray[np.uint32], threshold: float
) -> Iterator[tuple[int, tuple[int, int]]]:
    place, data = numbered
    values = np.frombuffer(data, np.uint64)
    counts = ShingleCounts(table).of(values)
    order = np.lexsort((values, counts))[: int(prefix_lengths(np.array([len(values)]), threshold)[0])]
    for value in values[order[counts[order] > 1]].tolist():
        yield value, (place, len(values))


def _proposed(members: Iterable[tuple[int, int]], threshold: float) -> Iterator[tuple[int, int]]:
    places, sizes = np.array(sorted(members), np.int64).T
    for index in range(len(places) - 1):
        rest = slice(index + 1, None)
        for other in places[rest][sizes_allow(sizes[rest], sizes[index], threshold)].tolist():
            yield int(places[index]), other


def _sent(place: int, found: dict[str, Iterable[Any]]) -> Iterator[tuple[int, tuple[int, bytes]]]:
    data = next(iter(found["sets"]))
    for other in found["pairs"]:
        yield other, (place, data)


def _alike(other: int, found: dict[str, Iterable[Any]], threshold: float) -> Iterator[str]:
    waiting = list(found["others"])
    if not waiting:
        return
    theirs = np.frombuffer(next(iter(found["sets"])), np.uint64)
    ours = [np.frombuffer(data, np.uint64) for _, data in waiting]
    sets = TokenSets(np.concatenate(ours), np.cumsum([len(values) for values in ours]))
    own = TokenSets(theirs, np.array([len(theirs)]))
    rows = np.arange(len(ours))
    similarities = jaccard(sets, rows, own, np.zeros(len(ours), np.int64))
    for (place, _), similarity in zip(waiting, similarities.tolist(), strict=True):
        if similarity >= threshold:
            yield f"{place} {other}"
