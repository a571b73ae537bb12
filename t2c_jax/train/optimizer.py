"""Update rule and schedule from the config, through optax."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

from t2c_jax.config import OptimizerConfig


def learning_rate(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Linear warm-up from zero to the peak, then constant, cosine to ``end_share``, or inverse square root.

    The inverse square root is scaled to meet the peak where the warm-up ends (Vaswani et al. 2017, section 5.3).
    """
    peak, warmup = config.learning_rate, config.warmup_steps
    if config.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, max(steps - warmup, 1), alpha=config.end_share)
    elif config.schedule == "inverse_sqrt":
        offset = max(warmup, 1)

        def after(step: jax.typing.ArrayLike) -> jax.Array:
            return peak * jnp.sqrt(offset / (jnp.asarray(step) + offset))
    else:
        after = optax.constant_schedule(peak)
    # From 1/warmup on: a first step at rate zero would be a step for nothing.
    ramp = optax.linear_schedule(peak / max(warmup, 1), peak, max(warmup - 1, 1))
    return optax.join_schedules([ramp, after], [warmup]) if warmup else after


def decayed(params: Any, pattern: str) -> Any:
    """True for each parameter whose dotted path the regular expression finds."""

    def matches(path: tuple[Any, ...], _: Any) -> bool:
        return re.search(pattern, ".".join(str(key.key) for key in path)) is not None

    return jax.tree_util.tree_map_with_path(matches, params)


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Clipping by global norm, then AdamW (Loshchilov & Hutter 2019) or Adafactor (Shazeer & Stern 2018).

    The state is a dict by stage name, since checkpoints keep its shape.
    """
    schedule = learning_rate(config, steps)
    stages: list[tuple[str, optax.GradientTransformation]] = []
    if config.clip_norm:
        stages.append(("clip", optax.clip_by_global_norm(config.clip_norm)))
    if config.name == "adamw":
        stages.append(("adam", optax.scale_by_adam(config.beta1, config.beta2, config.epsilon)))
    else:
        stages.append(("adafactor", optax.scale_by_factored_rms()))
        stages.append(("clip_update", optax.clip_by_block_rms(1.0)))
    if config.weight_decay:
        decay = optax.add_decayed_weights(config.weight_decay, lambda params: decayed(params, config.decay_mask))
        stages.append(("decay", decay))
    stages.append(("rate", optax.scale_by_learning_rate(schedule)))
    return optax.named_chain(*stages)
