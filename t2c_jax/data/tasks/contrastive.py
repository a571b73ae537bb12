"""Contrastive learning of text and code (Wang et al. 2023, "CodeT5+", section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from t2c_jax.data.tasks.task import Example, ExampleIndex, Task, TaskSetup
from t2c_jax.errors import UserError

if TYPE_CHECKING:
    from t2c_jax.data.tokens import Tokens


@dataclass(frozen=True)
class Contrast(Task):
    """Text and code of a pair as two sources whose embeddings should match; the decoder writes nothing.

    Each pair has a fixed share of a row, so that a batch holds many pairs to be compared. Longer ones are cut at their
    end: half of the share is for the text and half for the code, and what one of them leaves goes to the other. With a
    share of 12 and 1 for eos, a text of 3 and code of 9 tokens are read as 3 and 7, a text of 8 and code of 9 as 5
    and 5.

    Attributes:
      length: tokens of both sources at most, special tokens included.
    """

    needs: ClassVar[str] = "both text and code"
    length: int = 0

    def index(self, tokens: Tokens, seed: int) -> ExampleIndex:
        """Every pair that has both."""
        records_N = np.flatnonzero((tokens.text_lengths > 0) & (tokens.code_lengths > 0))
        text_N, code_N = self._cut(tokens.text_lengths[records_N], tokens.code_lengths[records_N])
        nothing_N = np.zeros_like(records_N)
        return ExampleIndex(records_N, nothing_N, code_N, text_N + code_N + 2 * self.source.extra_tokens, nothing_N)

    def _cut(self, text_N: np.ndarray, code_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        room = self.length - 2 * self.source.extra_tokens
        text_N = np.minimum(text_N, np.maximum(room // 2, room - code_N))
        return text_N, np.minimum(code_N, room - text_N)

    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """Text and code; nothing is sampled."""
        text, code = tokens.text(record), tokens.code(record)
        kept, _ = self._cut(np.array(len(text)), np.array(len(code)))
        return Example((self.source(text[: int(kept)]), self.source(code[:end])), np.zeros(0, np.int32))


def build_contrastive(setup: TaskSetup) -> Contrast:
    """The task of ``contrastive``."""
    shared, data = setup.shared(), setup.data
    length = data.encoder_length // data.pairs_in_row
    if length - 2 * shared["source"].extra_tokens < 8:
        raise UserError(
            f"{setup.key}: config.data.encoder_length={data.encoder_length} has no room for pairs_in_row="
            f"{data.pairs_in_row} pairs; set it to a smaller number"
        )
    return Contrast(**shared, max_examples_per_row=data.pairs_in_row, length=length)
