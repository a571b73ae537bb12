"""What a training task is, and what an objective is: the recipe that a config names and a task is made from.

A task says which examples it makes of which records, with the lengths of source and target, so that rows are planned
without touching a token. Then it makes the examples, each a pure function of (seed, epoch, record, begin).
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from t2c_jax.config.registry import objectives
from t2c_jax.data.tasks.objective import Objective
from t2c_jax.data.templates import SourceTemplate, TargetTemplate
from t2c_jax.errors import UserError

if TYPE_CHECKING:
    from t2c_jax.config import DataConfig, TaskConfig
    from t2c_jax.data.tokens import Tokens
    from t2c_jax.tokenizers.loading import Tokenizers

CODE = "code of two tokens"
KNOWN_IDENTIFIERS = "code whose identifiers are known"


class Example(NamedTuple):
    """One example.

    Attributes:
      sources: what the encoder reads; several are as many segments.
      target: what the decoder writes; may be empty.
      tags: for each token of the only source 1 for an identifier, 0 for none, -1 where no loss is taken.
    """

    sources: tuple[np.ndarray, ...]
    target: np.ndarray
    tags: np.ndarray | None = None


class ExampleIndex(NamedTuple):
    """Where each example of a task comes from, and how long it will be.

    Attributes:
      records_N: index of each example's record.
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
    """Makes examples of records.

    Attributes:
      source: what is put around every source, the task's prefix included.
      target: what is put around every target.
      weights: for each target id the weight of its loss in training; None for 1.
      max_examples_per_row: 0 for as many as fit.
      needs: what a record must have, for messages.
    """

    needs: ClassVar[str] = "text"
    source: SourceTemplate = field(default_factory=SourceTemplate)
    target: TargetTemplate = field(default_factory=TargetTemplate)
    weights: np.ndarray | None = None
    max_examples_per_row: int = 0

    @abc.abstractmethod
    def index(self, tokens: Tokens, seed: int) -> ExampleIndex:
        """The examples of a split and their lengths; ``seed`` is the key of what is sampled once for all epochs."""

    @abc.abstractmethod
    def example(self, tokens: Tokens, record: int, begin: int, end: int, seed: int, epoch: int) -> Example:
        """An example: a pure function of its arguments; its lengths do not change with the epoch."""

    def in_templates(self, example: Example) -> Example:
        """An example of a single source, with what is put around source and target."""
        return Example((self.source(example.sources[0]),), self.target(example.target))


@dataclass(frozen=True)
class TaskSetup:
    """What an objective makes a task from.

    Attributes:
      key: the task's section, for messages.
      config: that section.
      data: lengths of rows.
      tokenizers: of the run.
      copy: the model copies from sources.
      weights: for each target id the weight of its loss; None for 1.
    """

    key: str
    config: TaskConfig
    data: DataConfig
    tokenizers: Tokenizers
    copy: bool = False
    weights: np.ndarray | None = None

    def shared(self, *, reverse: bool = False) -> dict[str, Any]:
        """The arguments that every ``Task`` takes."""
        source = SourceTemplate.of(self.tokenizers, self.config.prefix, reverse=reverse, copy=self.copy)
        return {"source": source, "target": TargetTemplate.of(self.tokenizers), "weights": self.weights}

    @property
    def room(self) -> tuple[int, int]:
        """Tokens of a source and of a target at most, without what the templates add."""
        made = self.shared()
        source = self.data.encoder_length - made["source"].extra_tokens
        return source, self.data.decoder_length - made["target"].extra_tokens

    @property
    def sentinels(self) -> tuple[int, ...]:
        """The tokenizer's sentinels.

        Raises:
          UserError: it has none.
        """
        if not self.tokenizers.target.sentinels:
            raise UserError(f"{self.key}: the tokenizer has no sentinels; set config.tokenizer.sentinels=100")
        return tuple(self.tokenizers.target.sentinels)


def objective_of(config: TaskConfig, key: str = "config.data.tasks") -> Objective:
    """The objective that a task's section names."""
    found: Objective = objectives.get(config.objective, f"{key}.objective")
    return found


def build_task(setup: TaskSetup) -> Task:
    """The task that one section of config.data.tasks describes.

    Raises:
      UserError: the tokenizer has no sentinels for it, or the rows have no room.
    """
    if min(setup.room) < 4:
        raise UserError(f"{setup.key}: config.data.encoder_length and decoder_length leave no room for code")
    return objective_of(setup.config, setup.key).build(setup)
