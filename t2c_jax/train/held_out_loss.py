"""The held-out loss: measured on dev pairs every config.train.eval_every steps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import jax
import numpy as np

from t2c_jax import console
from t2c_jax import mesh as meshes
from t2c_jax.config import DataConfig
from t2c_jax.config.check import output_head
from t2c_jax.data.pipeline import Batches
from t2c_jax.errors import UserError
from t2c_jax.train.batches import Data
from t2c_jax.train.hooks import Hook, LoopState, Rank
from t2c_jax.train.step import Compiled
from t2c_jax.train.telemetry.running_means import means


class HeldOutLoss(Hook):
    """Measures and logs the held-out loss; patience and the ranking of checkpoints read it."""

    rank = Rank.EVALUATION

    def __init__(self, data: Data, every: int, batches: int) -> None:
        """``batches``: of the dev split, read at most."""
        self._data, self.every, self._batches = data, every, batches

    def __call__(self, run: LoopState) -> None:
        """Measures.

        Raises:
          UserError: the loss is not finite.
        """
        run.held_out = measure_tasks(run.compiled, run.params, self._data, self._batches)
        if run.held_out:
            run.log("dev", run.held_out)
        if (loss := run.held_out_loss) is not None:
            if not math.isfinite(loss):
                raise UserError(
                    f"the held-out loss of step {run.step} is {loss}; the last checkpoint is older: lower"
                    " config.optimizer.learning_rate and run the same command again"
                )
            run.dev_loss = loss
            console.say(f"step {run.step}: dev loss {describe(run.held_out)}")
        run.timer.mark("evaluation")


def measurable(config: DataConfig, data: Data) -> bool:
    """Whether there is a held-out loss to choose by: of dev pairs of this run's own, for which the decoder writes."""
    writes = {name: not name or not output_head(config.tasks[name].objective) for name in data.dev}
    return any(writes[name] and data.shares[name] and dev.per_pass for name, dev in data.dev.items())


def measure_tasks(compiled: Compiled, params: object, data: Data, limit: int) -> dict[str, float]:
    """``measure`` of each task under ``NAME/TASK``, and their means by the shares of the tasks that have that metric.

    Tasks that replay another corpus are reported and not part of the means. For example ``nll``, ``nll/generate``,
    ``nll/describe``, ``tagging_nll``, ``tagging_nll/tags``.

    Args:
      compiled: the run's functions.
      params: to measure.
      data: the run's.
      limit: batches to read at most for all tasks of the run's own together, and as many for those replayed.
    """
    kinds = Counter(data.shares[name] > 0 for name in data.dev)
    measured = {
        name: measure(compiled, params, batches, -(-limit // kinds[data.shares[name] > 0]))
        for name, batches in data.dev.items()
    }
    if "" in measured:
        return measured[""]
    mixed: dict[str, float] = {}
    for key in dict.fromkeys(key for one in measured.values() for key in one):
        values = {name: one[key] for name, one in measured.items() if key in one}
        own = {name: data.shares[name] for name in values if data.shares[name]}
        weighed = [share / sum(own.values()) * values[name] for name, share in own.items()]
        if own and key == "tokens":
            mixed[key] = sum(values[name] for name in own)
        elif own:
            mixed[key] = math.hypot(*weighed) if key == "nll_standard_error" else sum(weighed)
        if key not in ("tokens", "nll_standard_error"):
            mixed |= {f"{key}/{name}": value for name, value in values.items()}
    return mixed


def measure(compiled: Compiled, params: object, batches: Batches, limit: int) -> dict[str, float]:
    """Held-out loss in nats per token with its standard error, and accuracy; empty without dev pairs.

    The standard error treats tokens as independent draws, which makes it a lower bound.
    """
    dataset = batches.dataset(0, min(limit, batches.per_pass)).as_numpy_iterator()
    parts = jax.device_get([compiled.eval_step(params, meshes.global_batch(batch, compiled.mesh)) for batch in dataset])
    flat = [{name: float(value) for name, value in part.items() if not np.ndim(value)} for part in parts]
    sums = {name: math.fsum(part[name] for part in flat) for name in flat[0]} if flat else {}
    weight = sums.get("weight", 0.0)
    if not weight:
        return means(sums)
    mean = sums["nll"] / weight
    variance = max(sums["nll_squared"] / weight - mean * mean, 0.0)
    return {
        "nll": mean,
        "nll_standard_error": math.sqrt(variance / weight),
        "accuracy": sums["correct"] / weight,
        "tokens": weight,
    }


def describe(held_out: Mapping[str, float]) -> str:
    """The held-out loss in words."""
    return (
        f"{held_out['nll']:.4f} ± {held_out['nll_standard_error']:.4f} nats a token,"
        f" accuracy {held_out['accuracy']:.1%} of {held_out['tokens']:,.0f} tokens"
    )
