"""A run's sums as means, and its speed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from t2c_jax.train.telemetry.flops import Utilisation
from t2c_jax.train.telemetry.goodput import Clock


class Meter:
    """Adds up the steps' sums and the time they took; ``window`` holds those of the steps not logged yet."""

    def __init__(
        self, clock: Clock, window: Iterable[Mapping[str, float]] = (), utilisation: Utilisation | None = None
    ) -> None:
        """Tells the devices' utilisation too where the model's operations and the devices' peak are known."""
        self.window = [dict(values) for values in window]
        self._clock, self._utilisation = clock, utilisation
        self._tokens = self._logged_tokens = self._logged_steps = 0.0
        self._steps = -1  # timed: the first one compiles, and its time is no rate
        self._logged_seconds = 0.0

    @property
    def doing(self) -> str:
        """What the devices work at between two arrivals of sums: ``compile`` until the first."""
        return "compile" if self._steps < 0 else "steps"

    def arrived(self) -> None:
        """A step has ended, whatever it came to."""
        self._clock.mark(self.doing)
        self._steps += 1

    def add(self, values: dict[str, float]) -> None:
        """The sums of the step that has arrived last, to be counted."""
        if self._steps:
            self._tokens += values["target_tokens"] + values["source_tokens"]
        self.window.append(values)

    def take(self) -> dict[str, float]:
        """Means since the last call, per target token, pair or tag; the norms and the rate are the last step's."""
        window, self.window = self.window, []
        if not window:
            return {}
        sums = {name: math.fsum(values[name] for values in window) for name in window[0]}
        weight = max(sums["weight"], 1.0)
        mean = {"loss": sums["loss"] / max(sums["denominator"], 1.0), "nll": sums["nll"] / weight}
        mean |= {"accuracy": sums["correct"] / weight, **means(sums)}
        last = {name: window[-1][name] for name in ("gradient_norm", "update_norm", "learning_rate")}
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
        return self._clock.here["steps"] + self._clock.here["data"]

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
