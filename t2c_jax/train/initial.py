"""The state that a run starts from: at random, or with the parameters of its origin."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from t2c_jax.checkpoints.origin import Origin
from t2c_jax.config import Experiment
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.train.state import State
from t2c_jax.train.step import Compiled


def initial_state(
    experiment: Experiment, compiled: Compiled, tokenizer: Tokenizer | None = None, origin: Origin | None = None
) -> State:
    """The state before the first step, on the mesh; the moving average starts from the same parameters.

    Args:
      experiment: the run's config.
      compiled: its functions.
      tokenizer: this run's, that writes targets; None for the origin's own.
      origin: config.origin, where it is open already.

    Raises:
      UserError: the origin is missing, or does not fit the model or the tokenizer.
    """
    state = compiled.init()
    if not experiment.origin.run or "parameters" not in experiment.origin.take:
        return state
    targets = compiled.abstract_state_on_mesh()["params"]
    with origin or Origin(experiment.origin) as source:
        params = source.initial_params(experiment, compiled.definition, state["params"], targets, tokenizer)
    state["params"] = params
    if "ema" in state and "adapters" not in state:
        copy = jax.jit(lambda params: jax.tree.map(jnp.copy, params), out_shardings=compiled.shardings["ema"])
        state["ema"] = copy(params)
    return state
