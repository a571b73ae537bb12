"""The train state: a plain nested dict of arrays, what of it trains, and how it is laid out over a mesh.

Its keys are ``step`` (steps done), ``params``, ``opt_state`` and, where the config asks for them, ``adapters`` and
``ema``. With adapters, the adapters and the parameters that train in full beside them (PEFT's ``modules_to_save``) are
what is optimised and averaged; ``params`` are then frozen, and no checkpoint holds them.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Key

from t2c_jax import mesh as meshes
from t2c_jax.config import LoraConfig, OptimizerConfig
from t2c_jax.models import lora
from t2c_jax.models.definition import Definition, count, names
from t2c_jax.train.optimizer import Optimizer

State = dict[str, Any]


def named_key(seed: int, name: str) -> Key[Array, ""]:
    """An independent random key for each use of a run's seed: the run's one base key, with the name folded in.

    Initial parameters are drawn from the base key itself, ``jax.random.key(seed)``.
    """
    return jax.random.fold_in(jax.random.key(seed), np.uint32(zlib.crc32(name.encode())))


def trainable_key(state: State) -> str:
    """The key of the part of a state that is optimised: ``adapters`` where there are any, else ``params``."""
    return "adapters" if "adapters" in state else "params"


def checkpoint_state(state: State) -> State:
    """The part of a state that a checkpoint holds: all of it but parameters that are frozen under adapters."""
    return {name: part for name, part in state.items() if name != "params" or trainable_key(state) == "params"}


@dataclass(frozen=True, eq=False)
class Trainable:
    """What is trained: a model, its optimizer and its adapters, and the seed of their initial values.

    Attributes:
      definition: the model.
      optimizer: of the model's parameters; under adapters, of the adapters and of what trains in full beside them.
      lora_config: rank and targets of the adapters; rank 0 for none.
      seed: of the parameters, of the adapters, and of dropout.
      ema: whether the state keeps an average of what is trained (``train.averaging``).
      modules_to_save: dotted paths of the parameters that train in full beside adapters.
    """

    definition: Definition
    optimizer: Optimizer
    lora_config: LoraConfig
    seed: int
    ema: bool = False
    modules_to_save: Collection[str] = frozenset()

    @classmethod
    def of(
        cls,
        definition: Definition,
        optimizer: OptimizerConfig,
        lora_config: LoraConfig,
        *,
        seed: int,
        ema: bool = False,
        modules_to_save: Collection[str] = frozenset(),
    ) -> Trainable:
        """As the sections of a config say.

        Raises:
          UserError: config.lora.targets or an item of config.optimizer.rates finds nothing in the model.
        """
        info = definition.parameter_info()
        if lora_config.rank:
            info = lora.parameter_info(info, lora_config, modules_to_save)
        return cls(definition, Optimizer(optimizer, info), lora_config, seed, ema, modules_to_save)

    def init(self) -> State:
        """The state before the first step. Trace it under ``jax.jit`` with the shardings of ``shardings``."""
        params = self.definition.init(jax.random.key(self.seed))
        state = {"step": jnp.zeros((), jnp.int32), "params": params}
        if self.lora_config.rank:
            key, info = named_key(self.seed, "adapters"), self.definition.parameter_info()
            state["adapters"] = lora.init(key, params, info, self.lora_config, self.modules_to_save)
            state["params"] = lora.divided(params, self.modules_to_save)[0]
        optimised = state[trainable_key(state)]
        state["opt_state"] = self.optimizer.init(optimised)
        if self.ema:
            state["ema"] = jax.tree.map(jnp.copy, optimised)
        return state

    @functools.cached_property
    def abstract_state(self) -> State:
        """Shapes and dtypes of ``init``'s result, without computing it."""
        return jax.eval_shape(self.init)

    @functools.cached_property
    def _abstract_trained(self) -> Any:
        return jax.eval_shape(self.optimizer.trainable, self.abstract_state[trainable_key(self.abstract_state)])

    @property
    def parameters(self) -> int:
        """How many parameters there are, adapters included."""
        return count(self.abstract_state["params"]) + count(self.abstract_state.get("adapters", {}))

    @property
    def trained(self) -> int:
        """How many of the parameters are trained."""
        return count(self._abstract_trained)

    def nbytes(self) -> int:
        """Bytes of parameters, optimizer state, moving average and gradients; all devices together."""
        leaves = jax.tree.leaves((self.abstract_state, self._abstract_trained))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

    def shardings(self, mesh: Mesh) -> State:
        """Shardings of the state: optimizer moments are laid out as their parameters, all else is replicated."""
        abstract = self.abstract_state
        by_path: dict[tuple[str, ...], NamedSharding] = {}
        shapes: dict[tuple[str, ...], tuple[int, ...]] = {}

        def add(key: str, shardings: Any) -> None:
            for (path, sharding), leaf in zip(
                jax.tree_util.tree_leaves_with_path(shardings), jax.tree.leaves(abstract[key]), strict=True
            ):
                by_path[names(path)], shapes[names(path)] = sharding, leaf.shape

        add("params", lora.divided(self.definition.shardings(mesh), self.modules_to_save)[0])
        if "adapters" in abstract:
            axes = lora.axis_names(self.definition.parameter_info(), self.lora_config, self.modules_to_save)
            add("adapters", meshes.shardings(axes, mesh))

        def same_layout(shape: tuple[int, ...], tail: tuple[str, ...]) -> bool:
            whole = shapes[tail]  # moments of a stack frozen in part have fewer layers, and no layer axis is ever split
            some_layers = len(shape) == len(whole) > 1 and by_path[tail].spec[0] is None and shape[0] <= whole[0]
            return shape == whole or (some_layers and shape[1:] == whole[1:])

        def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
            whole = names(path)
            for start in range(len(whole)):
                tail = whole[start:]
                if tail in by_path and same_layout(leaf.shape, tail):
                    return by_path[tail]
            return NamedSharding(mesh, PartitionSpec())

        return jax.tree_util.tree_map_with_path(place, abstract)
