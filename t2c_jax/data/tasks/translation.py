"""Translation of one side of a pair to the other, in either direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from t2c_jax.data.retrieved import SplitNeighbours
from t2c_jax.data.tasks.task import Example, ExampleIndex, Task, TaskSetup
from t2c_jax.data.templates import SourceTemplate, TargetTemplate

if TYPE_CHECKING:
    from t2c_jax.config import DataConfig
    from t2c_jax.data.tokens import Tokens
    from t2c_jax.tokenizers.loading import Tokenizers


@dataclass(frozen=True)
class Translation(Task):
    """One side of a pair to the other; records without text are skipped.

    With the ids 1 for eos and 7 for a prefix, text 5 6 and code 8 9 give the source 7 5 6 1 and the target 8 9 1;
    ``to_text`` swaps the sides. Both directions in one mixture are the bimodal dual generation of Wang et al. 2021,
    "CodeT5", section 3.2.

    Attributes:
      to_text: code is the source.
      neighbours: the training pairs that are read behind each source; None for none.
    """

    to_text: bool = False
    neighbours: SplitNeighbours | None = None

    def index(self, tokens: Tokens, seed: int) -> ExampleIndex:
        """Every pair, whole."""
        records_N = np.flatnonzero(tokens.text_lengths > 0)
        text_N, code_N = tokens.text_lengths[records_N], tokens.code_lengths[records_N]
        source_N, target_N = (code_N, text_N) if self.to_text else (text_N, code_N)
        source_N, target_N = source_N + self.source.extra_tokens, target_N + self.target.extra_tokens
        if self.neighbours is not None:
            source_N = source_N + self.neighbours.lengths(records_N, source_N)
        return ExampleIndex(records_N, np.zeros_like(code_N), code_N, source_N, target_N)

    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """Source and target of a pair; nothing is sampled."""
        source, target = tokens.text(record), tokens.code(record)
        if self.to_text:
            source, target = target, source
        if self.neighbours is None:
            return self.in_templates(Example((source,), target))
        behind = self.neighbours.behind(record, len(source) + self.source.extra_tokens)
        return Example((self.source(source, behind),), self.target(target))


def translation(
    tokenizers: Tokenizers,
    data: DataConfig,
    *,
    copy: bool = False,
    weights: np.ndarray | None = None,
    neighbours: SplitNeighbours | None = None,
) -> Translation:
    """The translation that config.data describes: what is generated and scored.

    Args:
      tokenizers: give the special tokens.
      data: direction, prefix, reversal.
      copy: the model copies from sources.
      weights: for each target id the weight of its loss.
      neighbours: of the split that is read.
    """
    source = SourceTemplate.of(tokenizers, data.prefix, reverse=data.reverse_source, copy=copy)
    return Translation(source, TargetTemplate.of(tokenizers), weights, 0, data.direction == "code_to_text", neighbours)


def build_translation(setup: TaskSetup) -> Translation:
    """The task of ``text_to_code`` or ``code_to_text``."""
    to_text = setup.config.objective == "code_to_text"
    return Translation(**setup.shared(reverse=setup.data.reverse_source), to_text=to_text)
