"""What a tokenizer is, which ones a run has, and the stage that makes them.

A run has one tokenizer for both sides, unless its encoder brings its own along; then that one reads the sources and
the run's own writes the targets. A tokenizer comes from SentencePiece (``spm``), trained here, or from Hugging Face's
``tokenizers`` (``pretrained_tokenizer``), read from an imported model.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from t2c_jax import console
from t2c_jax.config import PRETRAINED, Experiment, to_dict
from t2c_jax.errors import UserError
from t2c_jax.tokenizers import sentencepiece as spm
from t2c_jax.workdir import StageResult, Workdir, at_step, digest, write_json

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

CHECK = "check.json"
ENCODER = "encoder"  # the directory of the encoder's own tokenizer, under the run's
SPLITS = ("train", "dev", "test")

_SIDES = ("text", "code")


class Tokenizer(Protocol):
    """Text to ids and back.

    Attributes:
      vocab_size: pieces and specials counted in.
      digest: of what defines it.
      eos: the id that ends a target.
      start: the id that a decoder is fed first.
      before, after: ids around every source and target, eos counted in.
      unk: the id of what it cannot write; negative where it can write all.
      sentinels: ids reserved for span corruption.
      is_byte: for each id, whether it is one of the bytes that rare characters fall back to.
      surfaces: for each id the bytes it stands for; empty for specials.
    """

    vocab_size: int
    digest: str
    eos: int
    start: int
    unk: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    sentinels: list[int]
    is_byte: np.ndarray
    surfaces: list[bytes]

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Int32 ids of each text, nothing around them; on all cores.

        Raises:
          UserError: a text holds a lone surrogate, which Unicode does not let anything write down.
        """
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ``ids`` up to eos; specials are silent, bytes that are not UTF-8 become U+FFFD."""
        ...


@dataclass(frozen=True)
class Tokenizers:
    """A run's tokenizers: the one that reads sources and the one that writes targets, often the same."""

    source: Tokenizer
    target: Tokenizer
    direction: str

    @classmethod
    def load(cls, directory: Path, direction: str = "text_to_code") -> Tokenizers:
        """Reads a finished tokenizer stage.

        Raises:
          UserError: it is missing or damaged.
        """
        target = load_tokenizer(directory)
        own = directory / ENCODER
        return cls(load_tokenizer(own) if own.is_dir() else target, target, direction)

    @property
    def text(self) -> Tokenizer:
        """The one for texts."""
        return self.source if self.direction == "text_to_code" else self.target

    @property
    def code(self) -> Tokenizer:
        """The one for code."""
        return self.target if self.direction == "text_to_code" else self.source

    @property
    def digest(self) -> str:
        """Of both, and of which reads what."""
        if self.source is self.target:
            return self.target.digest
        return digest(self.source.digest, self.target.digest, self.direction)

    def copy_table(self) -> np.ndarray | None:
        """For each source id the target id that stands for the same bytes, 0 for none; None where they are the same.

        WordPiece and byte-level pieces count without the marks of their place in a word, so a word's first piece finds
        the target's piece without the space before it.
        """
        if self.source is self.target:
            return None
        targets: dict[bytes, int] = {}
        for i, surface in enumerate(self.target.surfaces):
            if surface:
                targets.setdefault(surface, i)
        table = [targets.get(surface, targets.get(surface.strip(), 0)) for surface in self.source.surfaces]
        return np.array(table, np.int32)


def load_tokenizer(directory: Path) -> Tokenizer:
    """Reads ``directory/spm.model`` or ``directory/tokenizer.json``.

    Raises:
      UserError: there is none, or it is damaged.
    """
    path = Path(directory) / spm.MODEL
    try:
        if not path.exists() and (Path(directory) / "tokenizer.json").exists():
            from t2c_jax.tokenizers.huggingface import PretrainedTokenizer

            return PretrainedTokenizer(Path(directory))
        return spm.SentencePieceTokenizer(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"'{path}' does not exist; run t2c tokenizer, or t2c run") from None
    except ValueError as error:
        raise UserError(f"'{directory}' holds a damaged tokenizer: {error}; delete it and run again") from None


def drawn_evenly(pairs: Iterable[Pair], size: int, limit: int) -> Iterator[str]:
    """Text, if any, and code of evenly spaced pairs, at most ``limit`` strings out of ``size`` pairs."""
    kept = min(size, max(limit // 2, 1))
    for index, pair in enumerate(pairs):
        if index * kept // size != (index + 1) * kept // size:
            yield from filter(None, (pair.text, pair.code))


def check(tokenizers: Tokenizers, pairs: Iterable[Pair]) -> dict[str, Any]:
    """Whether ``decode(encode(x)) == x`` for texts and codes, and what they cost.

    Returns:
      pairs, and for each side the ids of those that do not come back (``failures``), characters, tokens, tokens per
      character, unk tokens, and the share of tokens that are fallback bytes.
    """
    counts = {side: Counter[str](dict.fromkeys(("characters", "tokens", "unk", "bytes"), 0)) for side in _SIDES}
    failures: dict[str, list[str]] = {side: [] for side in _SIDES}
    checked = 0
    for batch in in_batches(pairs):
        checked += len(batch)
        for side in _SIDES:
            tokenizer: Tokenizer = getattr(tokenizers, side)
            texts = [getattr(pair, side) for pair in batch]
            for pair, text, ids in zip(batch, texts, tokenizer.encode_batch(texts), strict=True):
                if tokenizer.decode(ids.tolist()) != text:
                    failures[side].append(pair.id)
                counts[side].update(
                    characters=len(text),
                    tokens=len(ids),
                    unk=int((ids == tokenizer.unk).sum()),
                    bytes=int(tokenizer.is_byte[ids].sum()),
                )
    return {
        "pairs": checked,
        **{
            side: {
                "failures": failures[side],
                "characters": count["characters"],
                "tokens": count["tokens"],
                "tokens_per_character": round(count["tokens"] / max(count["characters"], 1), 4),
                "unk": count["unk"],
                "byte_share": round(count["bytes"] / max(count["tokens"], 1), 6),
            }
            for side, count in counts.items()
        },
    }


def in_batches(pairs: Iterable[Pair], size: int = 1024) -> Iterator[list[Pair]]:
    """Pairs in lists of ``size``, the last one shorter."""
    pairs = iter(pairs)
    while batch := list(islice(pairs, size)):
        yield batch


def build_tokenizer(experiment: Experiment, workdir: Workdir, pairs: Callable[[str], Iterable[Pair]]) -> StageResult:
    """The tokenizer stage: trains on the train split, or takes what config.init_from has; checks it on every split.

    Under config.tokenizer.retrain an encoder's own tokenizer is taken still: its parameters fit no other.

    Args:
      experiment: its tokenizer section, and where the run starts from.
      workdir: holds the finished corpus; gets ``tokenizer/`` with the model, ``check.json``, and the encoder's own
        tokenizer under ``encoder/`` where it has one.
      pairs: a split's pairs, in an order that is always the same.

    Raises:
      UserError: the corpus is missing or does not suit ``vocab_size``; or a tokenizer trained here does not give a
        pair back. Of one that came from elsewhere ``check.json`` and a warning tell what it loses.
    """
    config, direction = experiment.tokenizer, experiment.data.direction
    origin = Workdir(at_step(experiment.init_from)[0]) if experiment.init_from else None
    own_encoder = experiment.model.encoder in PRETRAINED
    # An import has the encoder's tokenizer alone; a run that started from one has both.
    half = own_encoder and origin is not None and not (origin.tokenizer / ENCODER).is_dir()
    trains = origin is None or half or config.retrain

    def build(directory: Path) -> dict[str, Any]:
        sizes = {split: sum(1 for _ in pairs(split)) for split in SPLITS}
        if origin is not None and (own_encoder or not trains):
            taken = origin.tokenizer / ENCODER if trains and not half else origin.tokenizer
            place = directory / ENCODER if trains else directory
            ignored = shutil.ignore_patterns("manifest.json", CHECK)
            shutil.copytree(taken, place, ignore=ignored, dirs_exist_ok=True)
        if trains:
            console.say(f"tokenizer: training {config.vocab_size:,} {config.model_type} pieces")
            model = spm.train(config, drawn_evenly(pairs("train"), sizes["train"], config.max_sentences))
            (directory / spm.MODEL).write_bytes(model)
        tokenizers = Tokenizers.load(directory, direction)
        report = {}
        with console.progress("tokenizer: encoded and decoded", sum(sizes.values()), "pairs") as bar:
            for split in SPLITS:
                report[split] = check(tokenizers, advancing(bar, pairs(split)))
        for side in _SIDES:
            failures = [f"{split}:{id_}" for split in SPLITS for id_ in report[split][side]["failures"]]
            if failures and isinstance(getattr(tokenizers, side), spm.SentencePieceTokenizer) and trains:
                raise UserError(
                    f"the tokenizer does not give back {len(failures)} pairs ({', '.join(failures[:3])}, ...);"
                    " please report it with one of them"
                )
            if failures and getattr(tokenizers, side) is tokenizers.target:  # a source's is never decoded
                console.warn(
                    f"the tokenizer of {side}s is not lossless: {len(failures):,} of {sum(sizes.values()):,} do not"
                    f" come back as they were; '{CHECK}' names them"
                )
        write_json(directory / CHECK, report)
        return {"vocab_size": tokenizers.target.vocab_size, "digest": tokenizers.digest, "check": report}

    inputs = {"corpus": workdir.digest("corpus")}
    read = to_dict(config)
    if not config.retrain:
        del read["retrain"]
    if origin is not None:
        inputs["init_from"] = origin.digest("tokenizer")
        read = {**read, "encoder": own_encoder, "direction": direction}
    return workdir.stage("tokenizer", read, inputs, build)


def advancing(bar: console.Bar, pairs: Iterable[Pair]) -> Iterator[Pair]:
    """The pairs, as they are; the bar moves along."""
    for pair in pairs:
        yield pair
        bar.advance()
