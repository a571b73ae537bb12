"""What the config needs to know of an objective, without the code that makes its task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Objective:
    """An entry of ``config.registry.objectives``.

    Attributes:
      build: makes the task (``task.Task``) from a ``task.TaskSetup``; ``registry.lazy`` imports it when it is called.
      output_head: the head over encoder states that it trains; empty where it trains the decoder.
      needs_identifiers: it reads ``Tokens.identifiers``, so the tokens stage has to write them.
      batch_key: the array that it adds to batches; empty for none.
    """

    build: Callable[[Any], Any]
    output_head: str = ""
    needs_identifiers: bool = False
    batch_key: str = ""
