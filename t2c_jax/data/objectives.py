"""What a pair asks of the model: token arrays in, a source and a target out.

An objective gives the lengths of source and target from the lengths of text and code alone, so that rows are planned
without touching a token, and makes the tokens. One that draws at random draws by ``order.mix`` of (seed, epoch,
example), never from a generator that remembers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from t2c_jax.config import DataConfig
from t2c_jax.data.spm import EOS, PAD
from t2c_jax.data.tokenizer import Tokenizers

_NOTHING, _EOS = np.zeros(0, np.int32), np.array([EOS], np.int32)


@dataclass(frozen=True)
class Translate:
    """One side of a pair to the other.

    With ids 1 for eos and 7 for a prefix, text [5, 6] and code [8, 9] give the source 7 5 6 1 and the target 8 9 1;
    with ``reverse`` the source is 7 6 5 1 (Sutskever et al. 2014, section 3.3); ``to_text`` swaps the sides.

    Attributes:
      before, after: ids around every source, the task's prefix counted in.
      target_before, target_after: ids around every target.
      start: what the decoder is fed before the first target.
      to_text: code is the source.
      reverse: the source's tokens come last to first, what is around them stays.
      copy_table: for each source id the target id that stands for the same text; None where ids are the same.
      weights: for each target id the weight of its cost in training; None for 1.
    """

    before: np.ndarray = field(default_factory=_NOTHING.copy)
    after: np.ndarray = field(default_factory=_EOS.copy)
    target_before: np.ndarray = field(default_factory=_NOTHING.copy)
    target_after: np.ndarray = field(default_factory=_EOS.copy)
    start: int = PAD
    to_text: bool = False
    reverse: bool = False
    copy_table: np.ndarray | None = None
    weights: np.ndarray | None = None

    def source(self, ids: np.ndarray) -> np.ndarray:
        """The encoder's tokens, int32, in training and in generation alike."""
        return np.concatenate([self.before, ids[::-1] if self.reverse else ids, self.after], dtype=np.int32)

    def target(self, ids: np.ndarray) -> np.ndarray:
        """The decoder's targets, int32."""
        return np.concatenate([self.target_before, ids, self.target_after], dtype=np.int32)

    def example(self, text: np.ndarray, code: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Source and target of a pair."""
        return (self.source(code), self.target(text)) if self.to_text else (self.source(text), self.target(code))

    def lengths(self, text_lengths_N: np.ndarray, code_lengths_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lengths of what ``example`` returns."""
        source_N, target_N = (code_lengths_N, text_lengths_N) if self.to_text else (text_lengths_N, code_lengths_N)
        around = len(self.before) + len(self.after), len(self.target_before) + len(self.target_after)
        return source_N + around[0], target_N + around[1]


def translate(
    tokenizers: Tokenizers, data: DataConfig, *, copy: bool = False, weights: np.ndarray | None = None
) -> Translate:
    """The objective that a config and a run's tokenizers make.

    Args:
      tokenizers: give the ids around sources and targets.
      data: direction, prefix, reversal.
      copy: whether the model copies, and so wants to know what sources are as targets.
      weights: for each target id the weight of its cost.
    """
    source, target = tokenizers.source, tokenizers.target
    prefix = source.encode_batch([data.prefix])[0]
    return Translate(
        before=np.concatenate([source.before, prefix], dtype=np.int32, casting="unsafe"),
        after=np.array(source.after, np.int32),
        target_before=np.array(target.before, np.int32),
        target_after=np.array(target.after, np.int32),
        start=target.start,
        to_text=data.direction == "code_to_text",
        reverse=data.reverse_source,
        copy_table=tokenizers.copy_table() if copy else None,
        weights=weights,
    )
