"""The nearest training pairs behind a source (config.data.retrieve), as in REDCODER (Parvez et al. 2021).

The retrieval stage, a part of ``prepare``, writes ``retrieval/``:

    index/                  over the sources of the training pairs (``retrieval.term_index``), or over vectors of them
                            (``retrieval.vectors``)
    id, text, code          of each training pair that has a text, in the order of their ids: the rows of the index
    tokens                  of each row what the encoder reads of it as a neighbour, separators included
    key                     of each row a number; rows with equal targets have equal ones
    SPLIT/neighbours        of each pair of a split the rows of its neighbours, the nearest first

A source is read first, and then its neighbours by rank, until config.data.retrieve.tokens or encoder_length is full;
the last one may be cut. With the source 5 6, the neighbours 20 7 21 8 and 20 9 21 4 (20 and 21 are separators), 7
tokens of neighbours and 1 for eos: 5 6 20 7 21 8 20 9 21 1.

Training looks as testing will. Pairs of a split have neighbours in the train split alone. A training pair has none of
its own group, since groups are what splits keep together, and no near-copy of itself (``retrieval.near_copies``).
Neighbours of one source have different targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from t2c_jax import console
from t2c_jax.config import DataConfig, RetrieveConfig
from t2c_jax.corpus.normal_form import normalised
from t2c_jax.corpus.pairs import SPLITS, Pair
from t2c_jax.data.placeholders import FORMAT as PLACEHOLDERS_FORMAT
from t2c_jax.data.placeholders import named_pairs
from t2c_jax.data.ragged import RaggedArray, RaggedWriter
from t2c_jax.data.tokens import check_files, write_stamps
from t2c_jax.errors import UserError
from t2c_jax.retrieval.near_copies import NearCopies
from t2c_jax.retrieval.neighbours import nearest_rows
from t2c_jax.retrieval.vectors import VectorIndex
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import StageResult, Workdir, digest

if TYPE_CHECKING:
    from t2c_jax.retrieval.term_index import TermIndex
    from t2c_jax.tokenizers.base import Tokenizer

_TEXT_SEPARATOR, _CODE_SEPARATOR = "\n# ", " => "  # where neither the config nor the tokenizer has any
_STORED = ("neighbours", "content", "index", "near_copy", "text_separator", "code_separator")
_ENCODER = "encoder"  # stands for config.data.retrieve.index where there is config.data.retrieve.encoder


class SourceEncoder(Protocol):
    """A checkpoint of another run, which makes vectors of sources (config.data.retrieve.encoder).

    Attributes:
      name: of the run.
      step: of the checkpoint.
      identity: a digest by which checkpoints differ.
    """

    name: str
    step: int
    identity: str

    def embed(self, sources: Sequence[str], advance: Callable[[int], object] = ...) -> np.ndarray:
        """(sources, width) unit vectors; ``advance`` is called with the number of those made since the last call."""
        ...


class Retrieved(NamedTuple):
    """A training pair that was found for a prompt.

    Attributes:
      id, text, code: of the pair.
      similarity: to the prompt: the cosine, or BM25's sum.
      place: its repository, path and line; empty in an index that was made before they were kept.
      url: of its lines; empty where it is not known.
    """

    id: str
    text: str
    code: str
    similarity: float
    place: str = ""
    url: str = ""

    def to_dict(self) -> dict[str, str | float]:
        """The fields, without place and url where they are not known."""
        return {name: value for name, value in self._asdict().items() if name not in ("place", "url") or value}

    @property
    def texts(self) -> tuple[str, str]:
        """Text and code."""
        return self.text, self.code


class NeighbourTokens:
    """How neighbours follow a source: tokens of each row of the index, and how many of them fit."""

    def __init__(self, tokens: RaggedArray, most: int, length: int) -> None:
        """Reads nothing yet.

        Args:
          tokens: of each row, separators included.
          most: tokens of all neighbours of a source, config.data.retrieve.tokens.
          length: of an encoder row.
        """
        self._tokens, self._most, self._length = tokens, most, length

    def room(self, source: Any) -> Any:
        """Tokens of neighbours at most behind a source of this many tokens, special ones included; also of arrays."""
        return np.clip(self._length - source, 0, self._most)

    def joined(self, rows: Sequence[int] | np.ndarray, source: int) -> tuple[np.ndarray, int]:
        """Int32 tokens of rows behind a source of this many tokens, and of how many rows they hold at least a part."""
        parts, left = [np.zeros(0, np.int32)], int(self.room(source))
        for row in rows:
            if left <= 0:
                break
            parts.append(self._tokens[int(row)][:left].astype(np.int32))
            left -= len(parts[-1])
        return np.concatenate(parts), len(parts) - 1

    def lengths(self, rows: RaggedArray) -> np.ndarray:
        """Tokens of all rows of each item, int64, as if there were room for all."""
        ends = np.concatenate([[0], np.cumsum(self._tokens.lengths[rows.values])])
        return ends[rows.offsets[1:]] - ends[rows.offsets[:-1]]


class SplitNeighbours:
    """The neighbours of a split's pairs, by record."""

    def __init__(self, rows: RaggedArray, tokens: NeighbourTokens) -> None:
        self.rows, self._tokens = rows, tokens
        self._lengths_N = tokens.lengths(rows)

    def lengths(self, records_N: np.ndarray, source_N: np.ndarray) -> np.ndarray:
        """Tokens of neighbours behind each source, given its record and its own tokens."""
        return np.minimum(self._lengths_N[records_N], self._tokens.room(source_N))

    def behind(self, record: int, source: int) -> np.ndarray:
        """Int32 tokens of neighbours behind a record's source of this many tokens."""
        return self._tokens.joined(self.rows[record], source)[0]


class PromptNeighbours:
    """Finds neighbours of prompts."""

    def __init__(self, store: _Store, count: int, tokens: NeighbourTokens) -> None:
        self._store, self._count, self._tokens = store, count, tokens

    def find(self, prompts: Sequence[str]) -> list[tuple[tuple[int, Retrieved], ...]]:
        """The nearest rows of each prompt and their pairs, the nearest first."""
        return self._store.find(prompts, self._count)

    def behind(self, found: Sequence[tuple[int, Retrieved]], source: int) -> tuple[np.ndarray, tuple[Retrieved, ...]]:
        """Int32 tokens behind a prompt of this many tokens, and the neighbours of which they hold at least a part."""
        tokens, count = self._tokens.joined([row for row, _ in found], source)
        return tokens, tuple(pair for _, pair in found[:count])


class _Store:
    """What the retrieval stage wrote."""

    def __init__(self, directory: Path, encoder: SourceEncoder | None) -> None:
        from t2c_jax.retrieval.term_index import TermIndex  # imports SciPy, which a run without retrieval does without

        self._encoder = encoder
        self._index: TermIndex | VectorIndex = (
            TermIndex.open(directory / "index") if encoder is None else VectorIndex.open(directory / "index")
        )
        self._id, self._text, self._code = (RaggedArray.open(directory, name) for name in ("id", "text", "code"))
        has_places = (directory / "place.npy").is_file()  # since a later version
        self._places = [RaggedArray.open(directory, name) for name in ("place", "url")] if has_places else []
        self._keys: list[int] = np.load(directory / "key.npy").tolist()
        self.tokens = RaggedArray.open(directory, "tokens")

    def find(self, texts: Sequence[str], count: int) -> list[tuple[tuple[int, Retrieved], ...]]:
        if not texts:
            return []
        queries: Any = texts if self._encoder is None else self._encoder.embed(texts)
        found = nearest_rows(len(self._keys), len(texts), self._index.similarities(queries), count, self._keys)
        return [tuple((hit.row, self._pair(hit.row, hit.similarity)) for hit in hits) for hits in found]

    def _pair(self, row: int, similarity: float) -> Retrieved:
        columns = (self._id, self._text, self._code, *self._places)
        id_, text, code, *places = (column[row].tobytes().decode("utf-8") for column in columns)
        return Retrieved(id_, text, code, similarity, *places)


def split_neighbours(workdir: Workdir, split: str, tokenizers: Tokenizers, data: DataConfig) -> SplitNeighbours | None:
    """The neighbours of a split's pairs; None where config.data.retrieve asks for none.

    Raises:
      UserError: the retrieval stage has not run, with other settings, or its files are damaged.
    """
    if not data.retrieve.neighbours:
        return None
    manifest = _manifest(workdir, tokenizers, data)
    directory = workdir.retrieval
    if manifest["config"] != stored_settings(data):
        raise UserError(
            f"the neighbours in '{workdir.name}' were found by other settings than config.data.retrieve; run t2c"
            " prepare"
        )
    tokens = NeighbourTokens(RaggedArray.open(directory, "tokens"), data.retrieve.tokens, data.encoder_length)
    return SplitNeighbours(RaggedArray.open(directory / split, "neighbours"), tokens)


def prompt_neighbours(
    workdir: Workdir,
    tokenizers: Tokenizers,
    data: DataConfig,
    encoder_at: Callable[[int], SourceEncoder] | None = None,
) -> PromptNeighbours | None:
    """Finds neighbours of prompts; None where config.data.retrieve asks for none. It needs no TensorFlow.

    Args:
      workdir: of the run.
      tokenizers: of the run.
      data: of the run.
      encoder_at: opens config.data.retrieve.encoder at the step that made the index; needed where there is one.

    Raises:
      UserError: the retrieval stage has not run, or it is of another corpus or tokenizer, or damaged; or what is read
        of a neighbour is not what the stage wrote; or the encoder is gone or was trained anew.
    """
    if not data.retrieve.neighbours:
        return None
    manifest = _manifest(workdir, tokenizers, data)
    stored, wanted = manifest["config"], stored_settings(data)
    if stored.get("placeholders") != wanted.get("placeholders"):
        raise UserError(
            f"config.data.placeholders={data.placeholders}, and the index in '{workdir.name}' was made with another"
            " value or by another version; run t2c prepare in another workdir"
        )
    if changed := [name for name in wanted if name != "neighbours" and stored.get(name) != wanted[name]]:
        name = changed[0]
        if name == "index" and _ENCODER in (stored["index"], wanted["index"]):
            raise UserError(
                f"config.data.retrieve.encoder={data.retrieve.encoder!r}, and the index in '{workdir.name}' was made"
                f" {'with' if stored['index'] == _ENCODER else 'without'} one; run t2c prepare in another workdir"
            )
        raise UserError(
            f"config.data.retrieve.{name}={wanted[name]!r}, and the index in '{workdir.name}' was made with"
            f" {stored.get(name)!r}; set it to that, or run t2c prepare in another workdir"
        )
    encoder = None
    if data.retrieve.encoder:
        assert encoder_at is not None
        encoder = encoder_at(manifest["counts"]["encoder"]["step"])
        if manifest["inputs"]["encoder"] != encoder.identity:
            raise UserError(
                f"config.data.retrieve.encoder: checkpoint {encoder.step} of '{encoder.name}' is not the one that made"
                f" the index in '{workdir.name}'; name a copy of that one, or run t2c prepare in another workdir"
            )
    store = _Store(workdir.retrieval, encoder)
    tokens = NeighbourTokens(store.tokens, data.retrieve.tokens, data.encoder_length)
    return PromptNeighbours(store, data.retrieve.neighbours, tokens)


def stored_settings(data: DataConfig) -> dict[str, Any]:
    """The settings that decide what the stage writes."""
    settings = {**{name: getattr(data.retrieve, name) for name in _STORED}, "direction": data.direction}
    if data.placeholders:
        settings["placeholders"] = PLACEHOLDERS_FORMAT
    return {**settings, "index": _ENCODER} if data.retrieve.encoder else settings


def _manifest(workdir: Workdir, tokenizers: Tokenizers, data: DataConfig) -> dict[str, Any]:
    """The manifest of the stage, after a check of its inputs and files."""
    manifest = workdir.manifest("retrieval")
    inputs = manifest["inputs"]
    if inputs["tokenizer"] != tokenizers.digest:
        raise UserError(f"the index in '{workdir.name}' was made by another tokenizer than this run's; run t2c prepare")
    if (workdir.path / "corpus").exists() and inputs["corpus"] != workdir.digest("corpus"):
        raise UserError(f"the index in '{workdir.name}' is of another corpus than the run's; run t2c prepare")
    check_files(workdir.retrieval, manifest["counts"]["files"])
    return manifest


def build_retrieval(
    data: DataConfig,
    workdir: Workdir,
    pairs: Callable[[str], Iterable[Pair]],
    encoder: SourceEncoder | None = None,
) -> StageResult:
    """The retrieval stage. Corpus, tokenizers, encoder, and what of the settings is stored decide its result.

    Similarities of all pairs of a split to all training pairs are computed: time grows with the square of their number.

    Args:
      data: direction and config.data.retrieve.
      workdir: holds the finished corpus and tokenizer; gets ``retrieval/``.
      pairs: a split's pairs, always in the same order.
      encoder: config.data.retrieve.encoder; None where it names none.

    Raises:
      UserError: the corpus or the tokenizer is missing; no training pair has a neighbour; the budget has no room for
        one.
    """
    tokenizers = Tokenizers.load(workdir.tokenizer, data.direction)

    def build(directory: Path) -> dict[str, Any]:
        train = sorted((pair for pair in pairs("train") if pair.has_text), key=lambda pair: pair.id)
        if not train:
            raise UserError(
                "config.data.retrieve.neighbours: no training pair has a text, so no source has a neighbour; add"
                " sources with texts, or set it to 0"
            )
        if not all(pair.group for pair in train):
            raise UserError(
                f"config.data.retrieve: the corpus in '{workdir.name}' was written before pairs kept their groups;"
                f" delete '{workdir.path / 'corpus'}' and run again"
            )
        search = _Search(train, data, encoder)
        search.index.save(directory / "index")
        keys = _write_rows(directory, train, tokenizers, data)
        splits = {}
        for split in SPLITS:
            with console.progress(f"neighbours of {split}", None, "pairs") as bar:
                read = list(console.advancing(bar, pairs(split)))
                rows = search.neighbours(read, keys, is_train=split == "train")
            (directory / split).mkdir()
            with RaggedWriter(directory / split, "neighbours", np.uint32) as writer:
                writer.extend(np.array(row, np.uint32) for row in rows)
            asked = sum(pair.has_text for pair in read)
            splits[split] = {"pairs": asked, "without": asked - sum(map(bool, rows)), "found": sum(map(len, rows))}
        if not splits["train"]["found"]:
            raise UserError(
                "config.data.retrieve.neighbours: no training pair has a neighbour, for all are of one group, or"
                " near-copies; add sources, or set it to 0"
            )
        files = [str(path.relative_to(directory)) for path in sorted(directory.rglob("*")) if path.is_file()]
        write_stamps(directory, files)
        counts = {"rows": len(train), "splits": splits, "files": {name: digest(directory / name) for name in files}}
        return counts if encoder is None else {**counts, "encoder": {"run": encoder.name, "step": encoder.step}}

    inputs = {"corpus": workdir.digest("corpus"), "tokenizer": tokenizers.digest}
    if encoder is not None:
        inputs["encoder"] = encoder.identity
    result = workdir.stage("retrieval", stored_settings(data), inputs, build)
    counts = result.manifest["counts"]["splits"]["train"]
    console.say(
        f"retrieval: {counts['found'] / max(counts['pairs'], 1):.2f} neighbours of a training pair on average;"
        f" {counts['without']:,} of {counts['pairs']:,} have none"
    )
    return result


def _source(pair: Pair, data: DataConfig) -> str:
    return pair.text if data.direction == "text_to_code" else pair.code


def _target(pair: Pair, data: DataConfig) -> str:
    return pair.code if data.direction == "text_to_code" else pair.text


def _write_rows(directory: Path, train: Sequence[Pair], tokenizers: Tokenizers, data: DataConfig) -> list[int]:
    """Writes the rows of the index; returns their keys."""
    columns: dict[str, Callable[[Pair], str]] = {
        "id": lambda pair: pair.id,
        "text": lambda pair: pair.text,
        "code": lambda pair: pair.code,
        "place": lambda pair: str(pair.source),
        "url": lambda pair: pair.source.url,
    }
    for name, of in columns.items():
        with RaggedWriter(directory, name, np.uint8) as writer:
            writer.extend(np.frombuffer(of(pair).encode("utf-8"), np.uint8) for pair in train)
    tokenizer = tokenizers.source
    separators = separators_of(tokenizer, data.retrieve)
    if data.retrieve.tokens <= (most := max(map(len, separators.values()))):
        raise UserError(
            f"config.data.retrieve.tokens={data.retrieve.tokens} leaves no room for a neighbour: a separator alone"
            f" takes {most}; raise it"
        )
    sides = ("text", "code") if data.direction == "text_to_code" else ("code", "text")
    read = [side for side in sides if data.retrieve.content in ("pair", side)]
    seen = list(named_pairs(train)) if data.placeholders else train
    encoded = {side: tokenizer.encode_batch([getattr(pair, side) for pair in seen]) for side in read}
    kind = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
    with RaggedWriter(directory, "tokens", kind) as writer:
        for row in range(len(train)):
            writer.extend([np.concatenate([part for side in read for part in (separators[side], encoded[side][row])])])
    numbers: dict[str, int] = {}
    keys = [numbers.setdefault(normalised(_target(pair, data)), len(numbers)) for pair in train]
    np.save(directory / "key.npy", np.array(keys, np.uint32))
    return keys


def separators_of(tokenizer: Tokenizer, config: RetrieveConfig) -> dict[str, np.ndarray]:
    """What stands before the text and before the code of a neighbour, as ids of the tokenizer that reads sources.

    The last sentinels are those that span corruption hardly uses. No text can spell them.
    """
    sentinels = tokenizer.sentinels[-2:]
    made = {}
    for place, (side, own, plain) in enumerate(
        (("text", config.text_separator, _TEXT_SEPARATOR), ("code", config.code_separator, _CODE_SEPARATOR))
    ):
        if own or len(sentinels) < 2:
            made[side] = tokenizer.encode_batch([own or plain])[0]
        else:
            made[side] = np.array([sentinels[place]], np.int32)
    return made


class _Search:
    """Finds neighbours of a split's pairs."""

    def __init__(self, train: Sequence[Pair], data: DataConfig, encoder: SourceEncoder | None) -> None:
        from t2c_jax.retrieval.term_index import TermIndex

        self._train, self._data, self._encoder = train, data, encoder
        self._vectors: dict[str, np.ndarray] = {}  # of each source, since the training pairs are also asked for theirs
        sources = [_source(pair, data) for pair in train]
        self.index: TermIndex | VectorIndex = (
            TermIndex.of(sources, data.retrieve.index) if encoder is None else VectorIndex(self._queries(sources))
        )

    def _queries(self, sources: Sequence[str]) -> Any:
        """What the index is asked with."""
        if self._encoder is None:
            return sources
        new = [source for source in dict.fromkeys(sources) if source not in self._vectors]
        if new:
            with console.progress(f"vectors by '{self._encoder.name}'", len(new), "sources") as bar:
                self._vectors.update(zip(new, self._encoder.embed(new, bar.advance), strict=True))
        return np.stack([self._vectors[source] for source in sources])

    def neighbours(self, read: Sequence[Pair], keys: Sequence[int], *, is_train: bool) -> list[list[int]]:
        """The rows of each pair's neighbours; none of code alone."""
        asked = [record for record, pair in enumerate(read) if pair.has_text]
        found: list[list[int]] = [[] for _ in read]
        if asked:
            similarities = self.index.similarities(
                self._queries([_source(read[record], self._data) for record in asked])
            )
            excluded = _too_close([read[record] for record in asked], self._train, self._data) if is_train else None
            count = self._data.retrieve.neighbours
            hits = nearest_rows(len(self._train), len(asked), similarities, count, keys, excluded)
            for record, rows in zip(asked, hits, strict=True):
                found[record] = [hit.row for hit in rows]
        return found


def _too_close(asked: Sequence[Pair], train: Sequence[Pair], data: DataConfig) -> Callable[[int, int], bool]:
    """Whether a training pair, by its number in ``asked``, may not have a row as its neighbour."""
    row_of = {pair.id: row for row, pair in enumerate(train)}
    own = [row_of[pair.id] for pair in asked]
    are_near_copies = NearCopies(train, data.retrieve.near_copy)

    def excluded(query: int, row: int) -> bool:
        return train[own[query]].group == train[row].group or are_near_copies(own[query], row)

    return excluded
