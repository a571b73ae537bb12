"""Update rule and schedule from the config, through optax."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

from t2c_jax.config import OptimizerConfig
from t2c_jax.errors import UserError


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Linear warm-up from zero to the peak, then constant, cosine to ``end_share``, inverse square root, or in steps.

    The inverse square root is scaled to meet the peak where the warm-up ends (Vaswani et al. 2017, section 5.3).
    """
    peak, warmup = config.learning_rate, config.warmup_steps
    if config.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(steps - warmup, 1), alpha=config.end_share)
    elif config.schedule == "inverse_sqrt":
        offset = max(warmup, 1)

        def after(step: jax.typing.ArrayLike) -> jax.Array:
            return peak * jnp.sqrt(offset / (jnp.asarray(step) + offset))
    elif config.schedule == "step_decay":

        def after(step: jax.typing.ArrayLike) -> jax.Array:
            past = jnp.asarray(step) + warmup - config.decay_start
            decays = jnp.where(past >= 0, 1 + past // config.decay_every, 0)
            return peak * jnp.asarray(config.decay_factor, jnp.float32) ** decays
    else:
        after = optax.constant_schedule(peak)
    # From 1/warmup on: a first step at rate zero would be a step for nothing.
    ramp = optax.linear_schedule(peak / max(warmup, 1), peak, max(warmup - 1, 1))
    return optax.join_schedules([ramp, after], [warmup]) if warmup else after


def decayed(params: Any, pattern: str) -> Any:
    """True for each parameter whose dotted path the regular expression finds."""
    return jax.tree_util.tree_map_with_path(lambda path, _: re.search(pattern, _dotted(path)) is not None, params)


def rate_factors(params: Any, config: OptimizerConfig) -> Any:
    """For each parameter what multiplies its learning rate: of the first of config.optimizer.rates that finds it."""
    items = [(pattern, float(factor)) for pattern, _, factor in (item.rpartition("=") for item in config.rates)]

    def factor(path: tuple[Any, ...], _: Any) -> float:
        return next((factor for pattern, factor in items if re.search(pattern, _dotted(path))), 1.0)

    return jax.tree_util.tree_map_with_path(factor, params)


def trained(params: Any, config: OptimizerConfig) -> Any:
    """The parameters that move, None in the place of frozen ones, which get no gradient and no optimizer state.

    Raises:
      UserError: none is left.
    """
    moving = jax.tree.map(lambda leaf, factor: leaf if factor else None, params, rate_factors(params, config))
    if not jax.tree.leaves(moving):
        raise UserError("config.optimizer.rates freezes every parameter; leave one to train")
    return moving


def with_frozen(moving: Any, params: Any) -> Any:
    """``trained`` undone: what moves from ``moving``, what does not from ``params``."""
    return jax.tree.map(
        lambda leaf, old: old if leaf is None else leaf, moving, params, is_leaf=lambda leaf: leaf is None
    )


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(str(key.key) for key in path)


def _scale_by_factors(config: OptimizerConfig) -> optax.GradientTransformation:
    def update(updates: Any, params: Any = None) -> Any:
        return jax.tree.map(lambda leaf, factor: leaf * factor, updates, rate_factors(updates, config))

    return optax.stateless(update)


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Clipping by global norm, then the update rule: AdamW (Loshchilov & Hutter 2019), Adafactor (Shazeer & Stern
    2018), RMSProp (Tieleman & Hinton 2012) or plain gradient descent.

    The state is a dict by stage name, since checkpoints keep its shape.
    """
    schedule = learning_rate(config, steps)
    stages: list[tuple[str, optax.GradientTransformation]] = []
    if config.clip_norm:
        stages.append(("clip", optax.clip_by_global_norm(config.clip_norm)))
    if config.name == "adamw":
        stages.append(("adam", optax.scale_by_adam(config.beta1, config.beta2, config.epsilon)))
    elif config.name == "rmsprop":
        stages.append(("rmsprop", optax.scale_by_rms(config.beta2, config.epsilon)))
    elif config.name == "adafactor":
        stages.append(("adafactor", optax.scale_by_factored_rms()))
        stages.append(("clip_update", optax.clip_by_block_rms(1.0)))
    if config.weight_decay:
        decay = optax.add_decayed_weights(config.weight_decay, lambda params: decayed(params, config.decay_mask))
        stages.append(("decay", decay))
    stages.append(("rate", optax.scale_by_learning_rate(schedule)))
    if config.rates:
        stages.append(("factors", _scale_by_factors(config)))
    return optax.named_chain(*stages)
