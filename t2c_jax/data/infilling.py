"""Code around a gap to what an encoder reads, for models that were trained to fill in the middle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from t2c_jax.config import DataConfig, ModelConfig
from t2c_jax.data.prompt_encoder import EncodedPrompt
from t2c_jax.data.tasks.language_modelling import FillInTheMiddle
from t2c_jax.data.tasks.task import TaskSetup, build_task
from t2c_jax.data.templates import SourceTemplate
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.tokenizers.loading import Tokenizers

OBJECTIVE = "fill_in_the_middle"
_BEFORE = 0.75  # share of the room that text before the gap has, where the text behind it needs its share too


@dataclass(frozen=True)
class InfillPrompts:
    """Encodes a gap as the training task ``fill_in_the_middle`` does.

    Attributes:
      tokenizer: of code.
      template: what is put around a source, the task's prefix included.
      sentinel: the id that stands in the gap's place.
      length: tokens of a source at most.
    """

    tokenizer: Tokenizer
    template: SourceTemplate
    sentinel: int
    length: int

    def encode(self, before: str, after: str, *, cut: bool = False) -> EncodedPrompt:
        """The code before and after a gap.

        Args:
          before, after: the gap.
          cut: of text that is too long, keep what is nearest to the gap; without it the result says ``truncated`` and
            is not to be used.
        """
        before_N, after_N = self.tokenizer.encode_batch([before, after])
        room = self.length - self.template.extra_tokens - 1
        is_long = len(before_N) + len(after_N) > room
        if is_long and cut:
            least = room - int(_BEFORE * room)
            behind = min(len(after_N), max(least, room - len(before_N)))
            before_N, after_N = before_N[max(0, len(before_N) - (room - behind)) :], after_N[:behind]
        ids = np.concatenate([before_N, [self.sentinel], after_N], dtype=np.int32, casting="unsafe")
        value = self.template(ids)
        return EncodedPrompt(value, len(value), is_long)


def infill_prompts(tokenizers: Tokenizers, data: DataConfig, model: ModelConfig) -> InfillPrompts | None:
    """The prompts of a model that was trained on ``fill_in_the_middle``; None for others."""
    for name, task in data.tasks.items():
        if task.objective != OBJECTIVE or not task.weight or model.encoder.features != "tokens":
            continue
        made = build_task(TaskSetup(f"config.data.tasks.{name}", task, data, tokenizers))
        assert isinstance(made, FillInTheMiddle)
        return InfillPrompts(tokenizers.target, made.source, made.sentinel, data.encoder_length)
    return None
