"""A task: what is made of the records of a corpus. Objectives with a config, a tokenizer and a place for their tokens.

A task says which parts of which records it makes examples of, with the lengths of source and target, so that rows are
planned without touching a token; and it makes the examples. ``code_tasks`` has those that want no text.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from t2c_jax.config import DataConfig
from t2c_jax.data.prepare import Tokens
from t2c_jax.data.tasks.objectives import Example
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.tokenizers.sentencepiece import EOS, PAD

_NOTHING, _EOS = np.zeros(0, np.int32), np.array([EOS], np.int32)


class Parts(NamedTuple):
    """What a task makes examples of.

    Attributes:
      records_N: index of each part's record.
      begins_N, ends_N: its tokens, of the record's code.
      source_N, target_N: lengths of what ``Task.example`` makes of it, a task's two sources counted together.
    """

    records_N: np.ndarray
    begins_N: np.ndarray
    ends_N: np.ndarray
    source_N: np.ndarray
    target_N: np.ndarray

    def __len__(self) -> int:
        return len(self.records_N)


@dataclass(frozen=True)
class Task(abc.ABC):
    """What is made of records, and the ids around it.

    Attributes:
      before, after: ids around every source, the task's prefix counted in.
      target_before, target_after: ids around every target.
      start: what the decoder is fed before the first target.
      copy_table: for each source id the target id that stands for the same text; None where ids are the same.
      weights: for each target id the weight of its cost in training; None for 1.
      most_in_row: examples that share a row, at most; 0 for as many as fit.
      needs: what a record has to have, for messages.
    """

    needs: ClassVar[str] = "text"
    before: np.ndarray = field(default_factory=_NOTHING.copy)
    after: np.ndarray = field(default_factory=_EOS.copy)
    target_before: np.ndarray = field(default_factory=_NOTHING.copy)
    target_after: np.ndarray = field(default_factory=_EOS.copy)
    start: int = PAD
    copy_table: np.ndarray | None = None
    weights: np.ndarray | None = None
    most_in_row: int = 0

    @abc.abstractmethod
    def parts(self, tokens: Tokens, seed: int) -> Parts:
        """The parts and their lengths; ``seed`` for what is drawn once for all epochs."""

    @abc.abstractmethod
    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """An example, drawn by seed, epoch, record and begin alone; its lengths do not change with the epoch."""

    @property
    def around_source(self) -> int:
        """Tokens around a source."""
        return len(self.before) + len(self.after)

    @property
    def around_target(self) -> int:
        """Tokens around a target."""
        return len(self.target_before) + len(self.target_after)

    def source(self, ids: np.ndarray) -> np.ndarray:
        """The encoder's tokens, int32."""
        return np.concatenate([self.before, ids, self.after], dtype=np.int32)

    def target(self, ids: np.ndarray) -> np.ndarray:
        """The decoder's targets, int32."""
        return np.concatenate([self.target_before, ids, self.target_after], dtype=np.int32)

    def framed(self, example: Example) -> Example:
        """An objective's example, with what belongs around its source and target."""
        return Example((self.source(example.sources[0]),), self.target(example.target))


@dataclass(frozen=True)
class Translate(Task):
    """One side of a pair to the other; records without text are passed over.

    With ids 1 for eos and 7 for a prefix, text [5, 6] and code [8, 9] give the source 7 5 6 1 and the target 8 9 1;
    with ``reverse`` the source is 7 6 5 1 (Sutskever et al. 2014, section 3.3); ``to_text`` swaps the sides. Both ways
    in one mixture are the bimodal dual generation of Wang et al. 2021, "CodeT5", section 3.2.

    Attributes:
      to_text: code is the source.
      reverse: the source's tokens come last to first, what is around them stays.
    """

    to_text: bool = False
    reverse: bool = False

    def source(self, ids: np.ndarray) -> np.ndarray:
        """The encoder's tokens, int32, in training and in generation alike."""
        return super().source(ids[::-1] if self.reverse else ids)

    def parts(self, tokens: Tokens, seed: int) -> Parts:
        """Every pair, whole."""
        records_N = np.flatnonzero(tokens.text_lengths > 0)
        text_N, code_N = tokens.text_lengths[records_N], tokens.code_lengths[records_N]
        source_N, target_N = (code_N, text_N) if self.to_text else (text_N, code_N)
        lengths = source_N + self.around_source, target_N + self.around_target
        return Parts(records_N, np.zeros_like(code_N), code_N, *lengths)

    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """Source and target of a pair; nothing is drawn."""
        source, target = tokens.text(record), tokens.code(record)
        if self.to_text:
            source, target = target, source
        return Example((self.source(source),), self.target(target))


def translate(
    tokenizers: Tokenizers, data: DataConfig, *, copy: bool = False, weights: np.ndarray | None = None
) -> Translate:
    """The translation that a config and a run's tokenizers make: what is generated and scored.

    Args:
      tokenizers: give the ids around sources and targets.
      data: direction, prefix, reversal.
      copy: whether the model copies, and so wants to know what sources are as targets.
      weights: for each target id the weight of its cost.
    """
    return Translate(
        **frame(tokenizers, data.prefix, copy, weights),
        to_text=data.direction == "code_to_text",
        reverse=data.reverse_source,
    )


def frame(tokenizers: Tokenizers, prefix: str, copy: bool, weights: np.ndarray | None) -> dict[str, Any]:
    """What any ``Task`` of a run is made with."""
    source, target = tokenizers.source, tokenizers.target
    return {
        "before": np.concatenate([source.before, source.encode_batch([prefix])[0]], dtype=np.int32, casting="unsafe"),
        "after": np.array(source.after, np.int32),
        "target_before": np.array(target.before, np.int32),
        "target_after": np.array(target.after, np.int32),
        "start": target.start,
        "copy_table": tokenizers.copy_table() if copy else None,
        "weights": weights,
    }
