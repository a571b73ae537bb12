"""The state that a run starts from: at random, or with the parameters of its origin."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from t2c_jax.checkpoints.origin import Origin
from t2c_jax.config import DataConfig, LoraConfig, OriginConfig
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.train.state import State
from t2c_jax.train.step import Compiled


def initial_state(
    compiled: Compiled,
    config: OriginConfig,
    data: DataConfig,
    lora: LoraConfig,
    tokenizer: Tokenizer | None = None,
    opened: Origin | None = None,
) -> State:
    """The state before the first step, on the mesh; the moving average starts from the same parameters.

    Args:
      compiled: the run's functions.
      config: names the origin, and what is taken of it.
      data, lora: of the run's config.
      tokenizer: this run's, that writes targets; None for the origin's own.
      opened: the origin, where it is open already.

    Raises:
      UserError: the origin is missing, or does not fit the model or the tokenizer.
    """
    state = compiled.init()
    if not config.run or "parameters" not in config.take:
        return state
    targets = compiled.abstract_state_on_mesh()["params"]
    with opened or Origin(config) as origin:
        state["params"] = origin.initial_params(compiled.definition, data, lora, state["params"], targets, tokenizer)
    if "ema" in state and "adapters" not in state:
        copy = jax.jit(lambda params: jax.tree.map(jnp.copy, params), out_shardings=compiled.shardings["ema"])
        state["ema"] = copy(state["params"])
    return state
