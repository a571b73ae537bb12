"""Sums of steps as running means, and the run's speed."""

from __future__ import annotations

import math
from collections.abc import Mapping

from t2c_jax.train.telemetry.flops import Utilisation
from t2c_jax.train.telemetry.goodput import GoodputTimer


class RunningMeans:
    """Adds up the steps' sums and the time they took.

    Attributes:
      pending: the sums of the steps that no logged line covers yet; a checkpoint keeps them.
    """

    pending: list[dict[str, float]]

    def __init__(self, timer: GoodputTimer, utilisation: Utilisation | None = None) -> None:
        """Reports the devices' utilisation where their peak is known."""
        self.pending = []
        self._timer, self._utilisation = timer, utilisation
        self._tokens = self._logged_tokens = self._logged_steps = 0.0
        self._steps = -1  # timed: the first one compiles, and its time is no rate
        self._logged_seconds = 0.0

    @property
    def time_part(self) -> str:
        """What the time until a step's metrics arrive is booked under: ``compile`` for the first one."""
        return "compile" if self._steps < 0 else "steps"

    def step_finished(self) -> None:
        """A step's metrics have arrived."""
        self._timer.mark(self.time_part)
        self._steps += 1

    def add(self, metrics: Mapping[str, float]) -> None:
        """The sums of the step that has finished last; those of a skipped step do not count."""
        if metrics.get("skipped"):
            return
        if self._steps:
            self._tokens += metrics["target_tokens"] + metrics["source_tokens"]
        self.pending.append({name: value for name, value in metrics.items() if name != "skipped"})

    def take(self) -> dict[str, float]:
        """Means since the last call, per target token, pair or tag; norms and learning rate are the last step's."""
        pending, self.pending = self.pending, []
        if not pending:
            return {}
        sums = {name: math.fsum(values[name] for values in pending) for name in pending[0]}
        weight = max(sums["weight"], 1.0)
        mean = {"loss": sums["loss"] / max(sums["denominator"], 1.0), "nll": sums["nll"] / weight}
        mean |= {"accuracy": sums["correct"] / weight, **means(sums)}
        last = {name: pending[-1][name] for name in ("gradient_norm", "update_norm", "learning_rate")}
        return {**mean, **last, **self._speed()}

    def _speed(self) -> dict[str, float]:
        """Since the last call: nothing of the first step."""
        seconds, steps = self.seconds - self._logged_seconds, max(self._steps, 0) - self._logged_steps
        tokens = self._tokens - self._logged_tokens
        self._logged_seconds, self._logged_tokens, self._logged_steps = self.seconds, self._tokens, max(self._steps, 0)
        if not seconds or not steps:
            return {"tokens_per_second": 0.0}
        speed = {"tokens_per_second": tokens / seconds, "step_seconds": seconds / steps}
        if self._utilisation is not None:
            speed["utilisation"] = self._utilisation.share(seconds / steps)
        return speed

    @property
    def seconds(self) -> float:
        """Of all steps but the first of this process, with what they waited for data."""
        return self._timer.this_process["steps"] + self._timer.this_process["data"]

    @property
    def tokens_per_second(self) -> float:
        """Over all steps but the first."""
        return self._tokens / self.seconds if self.seconds else 0.0


def means(sums: Mapping[str, float]) -> dict[str, float]:
    """The means of what ``loss_sums`` adds up beside the decoder's tokens: by task, and of the heads."""
    found = {}
    for name, weight in sums.items():
        kind, separator, task = name.partition("_weight")
        if separator and weight > 0 and kind in ("task", "tagging", "contrastive"):
            found[f"nll{task}" if task else f"{kind}_nll"] = sums[f"{kind}_nll{task}"] / weight
            if not task:
                found[f"{kind}_accuracy"] = sums[f"{kind}_correct"] / weight
    return found
