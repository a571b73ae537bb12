"""What the model reads and writes of a source and a target: the task's prefix and the tokenizer's special tokens.

Letters: B rows, S source tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from t2c_jax.data.row_layout import lay_out
from t2c_jax.tokenizers.base import EOS, PAD

if TYPE_CHECKING:
    from t2c_jax.tokenizers.loading import Tokenizers

TOKEN_KEYS = ("encoder_input_tokens", "encoder_segment_ids", "encoder_positions")
COPY_KEY = "encoder_copy_tokens"


def _none() -> np.ndarray:
    return np.zeros(0, np.int32)


def _eos() -> np.ndarray:
    return np.array([EOS], np.int32)


@dataclass(frozen=True)
class SourceTemplate:
    """How a source becomes encoder tokens, in training and for prompts alike.

    With the ids 7 for a prefix and 1 for eos, the source 5 6 becomes 7 5 6 1, and with ``reverse`` 7 6 5 1.

    Attributes:
      before: ids before every source: the tokenizer's, then the prefix.
      after: ids after every source.
      reverse: the source's own tokens come last to first (Sutskever et al. 2014, section 3.3).
      copy_table: for each source id the target id of the same text; None where ids are the same or the
        model does not copy.
    """

    before: np.ndarray = field(default_factory=_none)
    after: np.ndarray = field(default_factory=_eos)
    reverse: bool = False
    copy_table: np.ndarray | None = None

    @classmethod
    def of(
        cls, tokenizers: Tokenizers, prefix: str = "", *, reverse: bool = False, copy: bool = False
    ) -> SourceTemplate:
        """The template of a run's sources; ``copy`` where the model copies from them."""
        tokenizer = tokenizers.source
        return cls(
            np.concatenate([tokenizer.before, tokenizer.encode_batch([prefix])[0]], dtype=np.int32, casting="unsafe"),
            np.array(tokenizer.after, np.int32),
            reverse,
            tokenizers.copy_table() if copy else None,
        )

    @property
    def extra_tokens(self) -> int:
        """Tokens that it adds to a source."""
        return len(self.before) + len(self.after)

    def __call__(self, ids: np.ndarray, *behind: np.ndarray) -> np.ndarray:
        """The encoder's tokens of a source, int32; ``behind`` it those of neighbours, which are never reversed."""
        own = ids[::-1] if self.reverse else ids
        return np.concatenate([self.before, own, *behind, self.after], dtype=np.int32)

    def shapes(self, length: int) -> dict[str, tuple[int, ...]]:
        """Shape of a row of each array that ``arrays`` gives."""
        return dict.fromkeys(TOKEN_KEYS if self.copy_table is None else (*TOKEN_KEYS, COPY_KEY), (length,))

    def arrays(self, sources: Sequence[np.ndarray], starts: np.ndarray, length: int) -> dict[str, np.ndarray]:
        """The encoder's part of a batch: (B, S) tokens, segment ids and positions, all int32.

        Args:
          sources: what ``__call__`` gave.
          starts: row r holds the sources from ``starts[r]`` to ``starts[r + 1]``.
          length: S.
        """
        rows = lay_out(sources, starts, length)
        batch = dict(zip(TOKEN_KEYS, (rows.tokens_BL, rows.segments_BL, rows.positions_BL), strict=True))
        if self.copy_table is not None:
            batch[COPY_KEY] = self.copy_table[rows.tokens_BL]
        return batch


@dataclass(frozen=True)
class TargetTemplate:
    """How a target becomes decoder tokens.

    Attributes:
      before, after: ids around every target.
      start: what the decoder is fed before the first target token.
    """

    before: np.ndarray = field(default_factory=_none)
    after: np.ndarray = field(default_factory=_eos)
    start: int = PAD

    @classmethod
    def of(cls, tokenizers: Tokenizers) -> TargetTemplate:
        """The template of a run's targets."""
        tokenizer = tokenizers.target
        before, after = (np.array(ids, np.int32) for ids in (tokenizer.target_before, tokenizer.target_after))
        return cls(before, after, tokenizer.start)

    @property
    def extra_tokens(self) -> int:
        """Tokens that it adds to a target."""
        return len(self.before) + len(self.after)

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        """The decoder's target tokens, int32."""
        return np.concatenate([self.before, ids, self.after], dtype=np.int32)
