"""Learning-rate schedule, learning-rate multipliers and update rule, through optax."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from t2c_jax.config import OptimizerConfig, parse_rates
from t2c_jax.errors import UserError


def learning_rate_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """The learning rate of each step, from 0: linear warm-up, then constant, cosine, inverse square root or steps.

    Warm-up goes from 1/warmup_steps of the peak, at step 0, to the peak, at step warmup_steps - 1. Cosine ends at
    ``end_share`` of the peak. The inverse square root meets the peak where the warm-up ends (Vaswani et al. 2017,
    section 5.3).
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
    # Not from zero: the first step would change nothing.
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


def learning_rate_multipliers(params: Any, config: OptimizerConfig) -> Any:
    """What each parameter's learning rate is multiplied by; a vector over its layers where they differ.

    That is the factor of the first item of config.optimizer.rates whose pattern is found in the parameter's path, times
    config.optimizer.layer_decay for each layer above its own in its stack (Clark et al. 2020, appendix B). Embeddings
    count as below the deepest stack of their side; what comes after a stack keeps the whole rate.

    Args:
      params: all of them, frozen ones too, which give the depth of a stack.
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


def trainable(params: Any, config: OptimizerConfig) -> Any:
    """The trainable parameters, with None in the place of frozen ones, which get no gradient and no optimizer state.

    Of a stack whose layers are frozen in part, it is the slice of the trainable layers.

    Raises:
      UserError: all are frozen.
    """
    selected = jax.tree.map(_trainable_layers, params, learning_rate_multipliers(params, config))
    if not jax.tree.leaves(selected):
        raise UserError("config.optimizer.rates freezes every parameter; leave one to train")
    return selected


def merge_frozen(trainable_params: Any, params: Any, config: OptimizerConfig) -> Any:
    """The inverse of ``trainable``: all parameters, the frozen ones from ``params``."""

    def whole(leaf: Any, old: Any, multiplier: float | np.ndarray) -> Any:
        if leaf is None or leaf.shape == old.shape:
            return old if leaf is None else leaf
        return old.at[_nonzero(multiplier)].set(leaf)

    multipliers = learning_rate_multipliers(params, config)
    return jax.tree.map(whole, trainable_params, params, multipliers, is_leaf=lambda leaf: leaf is None)


def scale_updates(directions: Any, params: Any, rate: jax.Array | float, config: OptimizerConfig) -> Any:
    """The updates of ``trainable(params)``: directions times minus the learning rate and the parameters' multipliers.

    Args:
      directions: of descent, as ``make_optimizer``'s update gives them.
      params: all of them.
      rate: the step's learning rate.
      config: rates and layer_decay.
    """

    def scaled(direction: Any, multiplier: float | np.ndarray) -> Any:
        if direction is None:
            return None
        if np.ndim(multiplier):
            multiplier = _trainable_layers(multiplier, multiplier).reshape(-1, *(1,) * (direction.ndim - 1))
        return direction * -rate * multiplier

    multipliers = learning_rate_multipliers(params, config)
    return jax.tree.map(scaled, directions, multipliers, is_leaf=lambda leaf: leaf is None)


def _trainable_layers(leaf: Any, multiplier: float | np.ndarray) -> Any:
    if np.ndim(multiplier) == 0:
        return leaf if multiplier else None
    return leaf if np.all(multiplier) else leaf[_nonzero(multiplier)]


def _nonzero(multipliers: float | np.ndarray) -> slice | np.ndarray:
    """The layers whose multiplier is not zero: a slice where they are contiguous, which is cheaper than a gather."""
    layers = np.flatnonzero(multipliers)
    contiguous = layers[-1] - layers[0] + 1 == len(layers)
    return slice(int(layers[0]), int(layers[-1]) + 1) if contiguous else layers


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(str(key.key) for key in path)


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Clipping by global norm, then the update rule: AdamW (Loshchilov & Hutter 2019), Adafactor (Shazeer & Stern
    2018), RMSProp (Tieleman & Hinton 2012) or plain gradient descent.

    Its updates are directions: ``scale_updates`` multiplies them by the learning rate, which is a function of the train
    state's step and not of a counter in here, so that a skipped step does not delay the schedule.

    The state is a dict by stage name: checkpoints hold it.
    """
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
    return optax.named_chain(*stages)
