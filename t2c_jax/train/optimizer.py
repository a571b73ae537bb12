"""Update rule and schedule from the config, through optax."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from t2c_jax.config import OptimizerConfig, parse_rates
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


_STACKED = re.compile(r"(.*\.blocks)\.")  # every array holds all layers
_NUMBERED = re.compile(r"(.*)_(\d+)\.")  # a recurrent layer by its number
_EMBEDDING = re.compile(r"(^|\.)(embedding|tokens|positions|token_types|nodes)(\.[ab])?$")


def _layers(path: str, leaf: Any) -> tuple[str, tuple[int, ...]] | None:
    """The stack that a parameter belongs to, and the layers it holds; None for one of no layer."""
    if (found := _STACKED.match(path)) is not None:
        return found[1], tuple(range(leaf.shape[0]))
    if (found := _NUMBERED.match(path)) is not None:
        return found[1], (int(found[2]),)
    return None


def rate_factors(params: Any, config: OptimizerConfig) -> Any:
    """For each parameter what multiplies its learning rate; a vector over its layers where they differ.

    That is the factor of the first of config.optimizer.rates that finds it, times config.optimizer.layer_decay for
    each layer above its own in its stack (Clark et al. 2020, appendix B). Embeddings lie below the deepest stack of
    their side; what comes after a stack keeps the whole rate.

    Args:
      params: all of them, frozen ones too: they tell how deep a stack is.
      config: rates and layer_decay.
    """
    rates = parse_rates(config.rates)
    depths: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if (found := _layers(_dotted(path), leaf)) is not None:
            depths[found[0]] = max(depths.get(found[0], 0), found[1][-1] + 1)

    def rate(path: str, layer: int | None, depth: int) -> float:
        return next((rate.factor for rate in rates if rate.reaches(path, layer, depth)), 1.0)

    def factor(tree_path: tuple[Any, ...], leaf: Any) -> float | np.ndarray:
        path = _dotted(tree_path)
        if (found := _layers(path, leaf)) is not None:
            depth = depths[found[0]]
            values = [rate(path, layer, depth) * config.layer_decay ** (depth - 1 - layer) for layer in found[1]]
            return values[0] if len(set(values)) == 1 else np.array(values, np.float32)
        below = 0
        if _EMBEDDING.search(path):
            side = "encoder." if path.startswith("encoder.") else ""
            below = max((depth for stack, depth in depths.items() if stack.startswith(side)), default=0)
        return rate(path, None, 0) * config.layer_decay**below

    return jax.tree_util.tree_map_with_path(factor, params)


def trained(params: Any, config: OptimizerConfig) -> Any:
    """The parameters that move, None in the place of frozen ones, which get no gradient and no optimizer state.

    Of a stack whose layers are frozen in part it is the other layers' slice.

    Raises:
      UserError: none is left.
    """
    moving = jax.tree.map(_moving, params, rate_factors(params, config))
    if not jax.tree.leaves(moving):
        raise UserError("config.optimizer.rates freezes every parameter; leave one to train")
    return moving


def with_frozen(moving: Any, params: Any, config: OptimizerConfig) -> Any:
    """``trained`` undone: what moves from ``moving``, what does not from ``params``."""

    def whole(leaf: Any, old: Any, factor: float | np.ndarray) -> Any:
        if leaf is None or leaf.shape == old.shape:
            return old if leaf is None else leaf
        return old.at[_reached(factor)].set(leaf)

    return jax.tree.map(whole, moving, params, rate_factors(params, config), is_leaf=lambda leaf: leaf is None)


def scaled(updates: Any, params: Any, config: OptimizerConfig) -> Any:
    """Updates of ``trained(params)``, each times its parameter's ``rate_factors``."""

    def times(update: Any, factor: float | np.ndarray) -> Any:
        if update is None or np.ndim(factor) == 0:
            return None if update is None else update * factor
        return update * _moving(factor, factor).reshape(-1, *(1,) * (update.ndim - 1))

    return jax.tree.map(times, updates, rate_factors(params, config), is_leaf=lambda leaf: leaf is None)


def _moving(leaf: Any, factor: float | np.ndarray) -> Any:
    if np.ndim(factor) == 0:
        return leaf if factor else None
    return leaf if np.all(factor) else leaf[_reached(factor)]


def _reached(factor: float | np.ndarray) -> slice | np.ndarray:
    """The layers with a rate: as a slice where they lie together, which is cheaper than a gather."""
    layers = np.flatnonzero(factor)
    together = layers[-1] - layers[0] + 1 == len(layers)
    return slice(int(layers[0]), int(layers[-1]) + 1) if together else layers


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(str(key.key) for key in path)


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
    return optax.named_chain(*stages)
