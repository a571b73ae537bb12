"""An average of the parameters over the steps, ``state["ema"]``, which is what is evaluated, exported and started from.

With config.train.ema_decay it is an exponential moving average that training does not see.

With config.optimizer.name=schedule_free it takes the place of a decaying learning rate (Defazio et al. 2024, "The Road
Less Scheduled", section 2 and algorithm 1). Gradients are taken at y = (1 - beta) z + beta x, where z are the
parameters that the optimizer updates, ``state["params"]`` or ``state["adapters"]``, and x is their average. Optax's
``schedule_free`` keeps y and z and computes x; here z and x are kept, because x is what others read, and because y of
the two is exact.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from t2c_jax.config import OptimizerConfig, TrainConfig


def keeps_average(train: TrainConfig, optimizer: OptimizerConfig) -> bool:
    """Whether the state holds an average."""
    return train.ema_decay > 0 or optimizer.name == "schedule_free"


def gradient_point(optimizer: OptimizerConfig, params: Any, averages: Any) -> Any:
    """The parameters at which gradients are taken: y of the schedule-free method, else ``params``.

    Args:
      optimizer: name and beta1.
      params: trainable ones.
      averages: of them; not read but by the schedule-free method.
    """
    if optimizer.name != "schedule_free":
        return params
    beta = optimizer.beta1
    return jax.tree.map(lambda z, x: (1 - beta) * z + beta * x, params, averages)


def share_of_newest(train: TrainConfig, optimizer: OptimizerConfig, step: Array) -> Array:
    """How much of the average after step ``step``, from 0, is that step's parameters."""
    if optimizer.name == "schedule_free":
        return schedule_free_share(optimizer.warmup_steps, step)
    return 1 - ema_decay(train.ema_decay, step)


def schedule_free_share(warmup_steps: int, step: Array) -> Array:
    """The weight of step ``step``, from 0, over the sum of all weights so far; a weight is the squared learning rate.

    Algorithm 1 with the linear warm-up of ``learning_rate_schedule``, in closed form: no sum is kept. Skipped steps
    count in it as if they had been taken.
    """
    last = float(max(warmup_steps, 1))  # squared rates are counted in units of the first one
    done = step.astype(jnp.float32) + 1.0
    warm = jnp.minimum(done, last)
    total = warm * (warm + 1) * (2 * warm + 1) / 6 + (done - warm) * last**2
    return jnp.square(warm) / total


def ema_decay(most: float, step: Array) -> Array:
    """min(most, (1 + t) / (10 + t)) at step t, from 0: the decay of the moving average of the parameters.

    The averaging window grows with the run, as in TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``. With
    a decay of 0.998 from the start, a third of the average after 550 steps would be the initial parameters.
    """
    return jnp.minimum(most, (1.0 + step) / (10.0 + step))
