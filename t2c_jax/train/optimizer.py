"""Learning-rate schedule, learning-rate multipliers and update rule, through optax."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from t2c_jax.config import OptimizerConfig, parse_rates
from t2c_jax.errors import UserError
from t2c_jax.models.parameters import ParameterInfo
from t2c_jax.train.adafactor import multiply_by_parameter_scale, scale_by_adafactor
from t2c_jax.train.muon import is_orthogonalized, orthogonalized_mask, scale_by_muon


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


def decay_mask(info: Any, pattern: str) -> Any:
    """Which parameters decay: those whose path the regular expression finds or, without one, kernels and tables.

    Args:
      info: a tree of ``ParameterInfo``.
      pattern: config.optimizer.decay_mask.
    """
    flat = flatten_dict(info)
    found = {path: bool(re.search(pattern, ".".join(path))) if pattern else one.decays for path, one in flat.items()}
    return unflatten_dict(found)


def learning_rate_multipliers(info: Any, config: OptimizerConfig) -> Any:
    """What each parameter's learning rate is multiplied by; a vector over its layers where they differ.

    That is the factor of the first item of config.optimizer.rates whose pattern is found in the parameter's path, times
    config.optimizer.layer_decay for each layer above its own in its stack (Clark et al. 2020, appendix B). Embeddings
    count as below the deepest stack of their side; what comes after a stack keeps the whole rate.

    Args:
      info: a tree of ``ParameterInfo``, frozen parameters too.
      config: rates and layer_decay.

    Raises:
      UserError: an item of config.optimizer.rates reaches no parameter.
    """
    rates, flat = parse_rates(config.rates), flatten_dict(info)
    reaching: set[int] = set()

    def rate(path: str, layer: int | None, depth: int) -> float:
        hits = [i for i, one in enumerate(rates) if one.reaches(path, layer, depth)]
        reaching.update(hits)
        return rates[hits[0]].factor if hits else 1.0

    def multiplier(path: str, one: ParameterInfo) -> float | np.ndarray:
        if one.stack:
            values = [rate(path, i, one.depth) * config.layer_decay ** (one.depth - 1 - i) for i in one.layers]
            return values[0] if len(set(values)) == 1 else np.array(values, np.float32)
        below = 0
        if one.kind in ("embedding", "positions"):
            side = "encoder." if path.startswith("encoder.") else ""
            below = max((other.depth for other in flat.values() if other.stack.startswith(side)), default=0)
        return rate(path, None, 0) * config.layer_decay**below

    found = {path: multiplier(".".join(path), one) for path, one in flat.items()}
    if config.name == "muon" and config.adam_share != 1:
        for path, one in flat.items():
            if not is_orthogonalized(path, one):
                found[path] = found[path] * config.adam_share
    for item, i in zip(config.rates, range(len(rates)), strict=True):
        if i not in reaching:
            known = sorted({".".join(path[:2]) for path in flat})
            raise UserError(
                f"config.optimizer.rates: {item!r} reaches no parameter; those of this model are in {', '.join(known)}"
            )
    return unflatten_dict(found)


def trainable(params: Any, multipliers: Any) -> Any:
    """The trainable parameters, with None in the place of frozen ones, which get no gradient and no optimizer state.

    Of a stack whose layers are frozen in part, it is the slice of the trainable layers.

    Args:
      params: all of them.
      multipliers: as ``learning_rate_multipliers`` gives them; those that are 0 freeze.

    Raises:
      UserError: all are frozen.
    """
    selected = jax.tree.map(_trainable_layers, params, multipliers)
    if not jax.tree.leaves(selected):
        raise UserError("config.optimizer.rates freezes every parameter; leave one to train")
    return selected


def merge_frozen(trainable_params: Any, params: Any, multipliers: Any) -> Any:
    """The inverse of ``trainable``: all parameters, the frozen ones from ``params``."""

    def whole(leaf: Any, old: Any, multiplier: float | np.ndarray) -> Any:
        if leaf is None or leaf.shape == old.shape:
            return old if leaf is None else leaf
        return old.at[_nonzero(multiplier)].set(leaf)

    return jax.tree.map(whole, trainable_params, params, multipliers, is_leaf=lambda leaf: leaf is None)


def scale_updates(directions: Any, rate: jax.Array | float, multipliers: Any) -> Any:
    """The updates of trainable parameters: directions times minus the learning rate and the multipliers.

    Args:
      directions: of descent, as ``update_rule``'s update gives them.
      rate: the step's learning rate.
      multipliers: as ``learning_rate_multipliers`` gives them.
    """

    def scaled(direction: Any, multiplier: float | np.ndarray) -> Any:
        if direction is None:
            return None
        if np.ndim(multiplier):
            multiplier = _trainable_layers(multiplier, multiplier).reshape(-1, *(1,) * (direction.ndim - 1))
        return direction * -rate * multiplier

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


class Optimizer:
    """The update rule over parameters of which some are frozen, some learn at a rate of their own.

    Attributes:
      config: config.optimizer.
      multipliers: ``learning_rate_multipliers``; 0 freezes.
    """

    def __init__(self, config: OptimizerConfig, info: Any) -> None:
        """``info`` is a tree of ``ParameterInfo`` of all that is optimised, frozen parameters too.

        Raises:
          UserError: an item of config.optimizer.rates reaches no parameter.
        """
        self.config = config
        self.multipliers = learning_rate_multipliers(info, config)
        self._rule = update_rule(config, info)

    def init(self, params: Any) -> Any:
        """The state before the first step; ``params`` are all of them."""
        return self._rule.init(self.trainable(params))

    def trainable(self, params: Any) -> Any:
        """The part of the parameters that gets gradients (``trainable``)."""
        return trainable(params, self.multipliers)

    def merge_frozen(self, trainable_params: Any, params: Any) -> Any:
        """All parameters, the frozen ones from ``params``."""
        return merge_frozen(trainable_params, params, self.multipliers)

    def updates(self, gradients: Any, state: Any, trainable_params: Any, rate: jax.Array | float) -> tuple[Any, Any]:
        """What to add to the trainable parameters at this learning rate, and the next state."""
        directions, state = self._rule.update(gradients, state, trainable_params)
        return scale_updates(directions, rate, self.multipliers), state


def update_rule(config: OptimizerConfig, info: Any) -> optax.GradientTransformation:
    """Clipping by global norm, then the update rule: AdamW (Loshchilov & Hutter 2019), Adafactor (Shazeer & Stern
    2018), Muon (Jordan et al. 2024) with AdamW, the base of schedule-free AdamW (Defazio et al. 2024), RMSProp
    (Tieleman & Hinton 2012) or plain gradient descent.

    Its updates are directions: ``scale_updates`` multiplies them by the learning rate, which is a function of the train
    state's step and not of a counter in here, so that a skipped step does not delay the schedule.

    The state is a dict by stage name: checkpoints hold it.

    Args:
      config: of the update rule.
      info: a tree of ``ParameterInfo``, like the trainable parameters and the frozen ones together.
    """
    stages: list[tuple[str, optax.GradientTransformation]] = []
    if config.clip_norm:
        stages.append(("clip", optax.clip_by_global_norm(config.clip_norm)))
    if config.name == "adamw":
        stages.append(("adam", optax.scale_by_adam(config.beta1, config.beta2, config.epsilon)))
    elif config.name == "schedule_free":  # Adam without a first moment; the iterates are averaged instead
        rms = optax.scale_by_rms(config.beta2, config.epsilon, eps_in_sqrt=False, bias_correction=True)
        stages.append(("rms", rms))
    elif config.name == "muon":
        adam = optax.scale_by_adam(config.beta1, config.beta2, config.epsilon)
        stages.append(("muon", scale_by_muon(info)))
        stages.append(("adam", optax.masked(adam, orthogonalized_mask(info, inverted=True))))
    elif config.name == "rmsprop":
        stages.append(("rmsprop", optax.scale_by_rms(config.beta2, config.epsilon)))
    elif config.name == "adafactor":
        stages.append(("adafactor", scale_by_adafactor(info)))
    if config.multiply_by_parameter_scale:
        stages.append(("parameter_scale", multiply_by_parameter_scale(info)))
    if config.weight_decay:
        stages.append(("decay", _decay(config, decay_mask(info, config.decay_mask))))
    return optax.named_chain(*stages)


def _decay(config: OptimizerConfig, mask: Any) -> optax.GradientTransformation:
    def of_trainable(params: Any) -> Any:
        return jax.tree.map(
            lambda leaf, decays: None if leaf is None else decays, params, mask, is_leaf=lambda leaf: leaf is None
        )

    return optax.add_decayed_weights(config.weight_decay, of_trainable)
