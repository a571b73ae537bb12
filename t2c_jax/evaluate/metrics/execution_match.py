"""Execution match: the answer does what the reference does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from t2c_jax.evaluate.execution.judgement import ProblemOutcome
from t2c_jax.evaluate.metrics.executed import ExecutedMetric

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair


class ExecutionMatch(ExecutedMetric):
    """Share of answers with the reference's result: rows and database of SQL, output and files of a shell script."""

    name = "execution_match"
    title = "Execution match"
    phrase = "execution match"
    right_or_wrong = True
    rule = (
        "SQL: the rows of the reference, in its order where it has ORDER BY, numbers to 10 digits, and the same"
        " database afterwards; shell: the output of the reference, space at line ends apart, and the same files, times"
        " apart; pairs without a database or files do not count"
    )

    def applies(self, pair: Pair) -> bool:
        """To pairs that are run and have no tests."""
        return pair.tests is not None and not pair.tests.has_tests

    def estimate(self, trial: ProblemOutcome) -> float:
        """1 or 0."""
        return float(trial.judgements[0].status == "passed")
