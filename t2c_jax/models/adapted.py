"""Parameters under adapters that are not merged: several models over one base, whose arrays are in memory once.

A program merges what it reads, and the merged kernels live no longer than it runs. The layout for the steps of a search
takes time, so it is kept: once for the base, and of a model's own what no adapter changes is the base's too. Only the
rest is laid out by each call.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from t2c_jax.config import LoraConfig
from t2c_jax.models import lora
from t2c_jax.models.definition import Definition, Params
from t2c_jax.models.seq2seq import Seq2Seq, Steps


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["frozen", "adapters"], meta_fields=["definition", "lora"]
)
@dataclass(frozen=True)
class Adapted:
    """The parameters of a model with adapters; a pytree.

    Attributes:
      frozen: the base's, which other models have too.
      adapters: as ``lora.init`` gives them, with the parameters that trained in full.
      definition: of the model.
      lora: the config of the adapters.
    """

    frozen: Params
    adapters: Params
    definition: Definition
    lora: LoraConfig

    def merged(self) -> Params:
        """The model's parameters; to be traced."""
        return lora.merged(self.frozen, self.adapters, self.definition.parameter_info(), self.lora)

    def without(self) -> Params:
        """The model's parameters as they would be if the adapters changed nothing; no copies."""
        return lora.without(self.frozen, self.adapters, self.definition.parameter_info(), self.lora)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["kept", "params"], meta_fields=["is_kept", "structure"]
)
@dataclass(frozen=True)
class AdaptedSteps:
    """``Steps`` of a model with adapters; a pytree.

    Attributes:
      kept: leaves of the base's steps that are the model's too.
      params: of which the other leaves are made.
      is_kept: of each leaf.
      structure: of the leaves.
    """

    kept: list[Any]
    params: Adapted
    is_kept: tuple[bool, ...]
    structure: Any

    def steps(self, lay_out: Callable[[Any], Steps]) -> Steps:
        """The model's steps, of which ``lay_out`` makes those that are its own; to be traced."""
        own, kept = jax.tree.leaves(lay_out(self.params)), iter(self.kept)
        leaves = [next(kept) if is_kept else leaf for leaf, is_kept in zip(own, self.is_kept, strict=True)]
        found: Steps = jax.tree.unflatten(self.structure, leaves)
        return found


class SharedSteps:
    """The layout of a base for the steps of a search, which is made once. Several threads may call it."""

    def __init__(self) -> None:
        """Nothing is laid out yet."""
        self._lock = threading.Lock()
        self._base: Steps | None = None

    def of(self, params: Any, lay_out: Callable[[Any], Steps]) -> LaidOut:
        """The steps of a model over the base, or of the base itself.

        Args:
          params: of the model.
          lay_out: makes the steps of given parameters.
        """
        with self._lock:
            if self._base is None:
                self._base = lay_out(params.without() if isinstance(params, Adapted) else params)
        if not isinstance(params, Adapted):
            return self._base
        base, structure = jax.tree.flatten(self._base)
        own = jax.tree.leaves(lay_out(params))
        is_kept = tuple(
            one.shape == other.shape and bool(jnp.array_equal(one, other)) for one, other in zip(base, own, strict=True)
        )
        kept = [leaf for leaf, is_same in zip(base, is_kept, strict=True) if is_same]
        return AdaptedSteps(kept, params, is_kept, structure)


LaidOut = Steps | AdaptedSteps
"""A model for the steps of a search."""


def bound(definition: Definition, params: Any) -> Seq2Seq:
    """The module that holds parameters, adapted ones too, to call inside a traced function."""
    return definition.bind(whole(params))


def whole(params: Any) -> Params:
    """The parameters of a model; adapted ones are merged. To be traced."""
    found: Params = params.merged() if isinstance(params, Adapted) else params
    return found
