"""The train state: a plain nested dict of arrays, what of it trains, and how it is laid out over a mesh.

Its keys are ``step`` (steps done), ``params``, ``opt_state`` and, where the config asks for them, ``adapters`` and
``ema``. With adapters, the adapters and the parameters that train in full beside them (PEFT's ``modules_to_save``) are
what is optimised and averaged; ``params`` are then frozen, and no checkpoint holds them.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
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


def optimizer_of(
    definition: Definition, config: OptimizerConfig, lora_config: LoraConfig, modules_to_save: Collection[str] = ()
) -> Optimizer:
    """The optimizer of a model's parameters, or of its adapters and of what trains in full beside them.

    Raises:
      UserError: config.lora.targets or an item of config.optimizer.rates finds nothing in the model.
    """
    info = definition.parameter_info()
    return Optimizer(config, lora.parameter_info(info, lora_config, modules_to_save) if lora_config.rank else info)


def init_state(
    definition: Definition,
    optimizer: Optimizer,
    *,
    seed: int,
    lora_config: LoraConfig,
    ema: bool = False,
    modules_to_save: Collection[str] = (),
) -> State:
    """The state before the first step. Trace it under ``jax.jit`` with the shardings of ``state_shardings``.

    Args:
      definition: the model.
      optimizer: as ``optimizer_of`` gives it.
      seed: of the parameters, and of the adapters.
      lora_config: rank and targets of the adapters; rank 0 for none.
      ema: whether the state keeps a moving average of what is trained.
      modules_to_save: dotted paths of the parameters that train in full beside adapters.
    """
    params = definition.init(jax.random.key(seed))
    state = {"step": jnp.zeros((), jnp.int32), "params": params}
    if lora_config.rank:
        key = named_key(seed, "adapters")
        state["adapters"] = lora.init(key, params, definition.parameter_info(), lora_config, modules_to_save)
        state["params"] = lora.divided(params, modules_to_save)[0]
    optimised = state[trainable_key(state)]
    state["opt_state"] = optimizer.init(optimised)
    if ema:
        state["ema"] = jax.tree.map(jnp.copy, optimised)
    return state


def state_shardings(
    definition: Definition, abstract: State, mesh: Mesh, config: LoraConfig, modules_to_save: Collection[str] = ()
) -> State:
    """Shardings of a whole state: optimizer moments are laid out as their parameters, all else is replicated."""
    by_path: dict[tuple[str, ...], NamedSharding] = {}
    shapes: dict[tuple[str, ...], tuple[int, ...]] = {}

    def add(key: str, shardings: Any) -> None:
        for (path, sharding), leaf in zip(
            jax.tree_util.tree_leaves_with_path(shardings), jax.tree.leaves(abstract[key]), strict=True
        ):
            by_path[names(path)], shapes[names(path)] = sharding, leaf.shape

    add("params", lora.divided(definition.shardings(mesh), modules_to_save)[0])
    if "adapters" in abstract:
        add("adapters", meshes.shardings(lora.axis_names(definition.parameter_info(), config, modules_to_save), mesh))

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


def parameter_counts(abstract: State, optimizer: Optimizer) -> tuple[int, int]:
    """How many parameters there are, adapters included, and how many of them are trained."""
    optimised = jax.eval_shape(optimizer.trainable, abstract[trainable_key(abstract)])
    return count(abstract["params"]) + count(abstract.get("adapters", {})), count(optimised)
