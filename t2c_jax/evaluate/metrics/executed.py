"""What metrics that run the answers have in common."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from t2c_jax.config import EvaluateConfig, ExecutionConfig
from t2c_jax.evaluate.execution.executor import Executor, executor_of
from t2c_jax.evaluate.execution.judgement import ProblemOutcome
from t2c_jax.evaluate.metrics.metric import Metric, percentage

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair


class ExecutedMetric(Metric):
    """A mean over the problems whose answers could be run, in percent.

    Attributes:
      rule: what is computed, for the signature.
    """

    rule: str
    runs_code = True
    _config = ExecutionConfig()
    _risk_accepted = False

    def configured(self, config: EvaluateConfig, *, risk_accepted: bool = False) -> Self:
        """A copy with the limits of config.evaluate.execution; all such copies share what was run."""
        configured = copy.copy(self)
        configured._config, configured._risk_accepted = config.execution, risk_accepted
        return configured

    @property
    def _executor(self) -> Executor:
        return executor_of(self._config, risk_accepted=self._risk_accepted)

    @property
    def signature(self) -> str:  # type: ignore[override]
        """The rule, the limits and the isolation."""
        config = self._config
        setup = f"; {', '.join(item.partition('=')[0] for item in config.setup)} with a set-up" if config.setup else ""
        isolation = f"; isolation: {self._executor.rung}" if self._executor.rung else ""
        return (
            f"{self.rule}; at most {config.cpu_seconds:g} s of CPU time or {config.cpu_factor:g} times the reference's,"
            f" and {config.memory_mib} MiB{setup}{isolation}"
        )

    @abstractmethod
    def applies(self, pair: Pair) -> bool:
        """Whether the pair is a problem of this metric; it has ``tests`` then."""

    @abstractmethod
    def estimate(self, trial: ProblemOutcome) -> float:
        """The score of one problem, 0 to 1."""

    def check(self, samples: int) -> None:
        """Programs can be run here."""
        self._executor.require()

    def statistics(self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]) -> np.ndarray:
        """Columns: estimate, 1; both 0 for a pair that is no problem, is left out, or could not be run."""
        return self.evaluated(pairs, candidates)[0]

    def score(self, sums: Sequence[float]) -> float:
        """The mean estimate, in percent; NaN where no problem counts."""
        return percentage(sums)

    def evaluated(
        self, pairs: Sequence[Pair], candidates: Sequence[Sequence[str]]
    ) -> tuple[np.ndarray, Sequence[Mapping[str, Any]]]:
        """The statistics, and ``execution`` of each problem: why it is left out, or what came of its answers."""
        rows = np.zeros((len(pairs), 2))
        details: list[Mapping[str, Any]] = [{} for _ in pairs]
        places = [place for place, (pair, _) in enumerate(zip(pairs, candidates, strict=True)) if self.applies(pair)]
        answers = [candidates[place] if self.every_sample else candidates[place][:1] for place in places]
        trials = self._executor.run([pairs[place] for place in places], answers)
        for place, own, trial in zip(places, answers, trials, strict=True):
            details[place] = {"execution": _described(trial, own)}
            if trial.scored:
                rows[place] = self.estimate(trial), 1
        return rows, details


def _described(trial: ProblemOutcome, answers: Sequence[str]) -> dict[str, Any]:
    if trial.left_out:
        return {"left_out": trial.left_out, "message": trial.message}
    attempts: dict[str, dict[str, Any]] = {}
    for answer, judgement in zip(answers, trial.judgements, strict=True):
        known = attempts.setdefault(
            answer, {"code": answer, "count": 0, "status": judgement.status, "message": judgement.message}
        )
        known["count"] += 1
    return {"samples": len(trial.judgements), "passed": trial.passed, "attempts": [*attempts.values()]}
