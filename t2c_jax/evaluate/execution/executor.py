"""Checks problems, calibrates their limits on the reference, and runs answers, each distinct one once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from t2c_jax import console
from t2c_jax.config import ExecutionConfig
from t2c_jax.evaluate.execution.judgement import Judgement, ProblemOutcome, one_line
from t2c_jax.evaluate.execution.runners import Runner, runner_for
from t2c_jax.languages.aliases import canonical
from t2c_jax.sandbox.languages import LANGUAGES
from t2c_jax.sandbox.outcomes import MIB, Limits, Outcome, Program, calibrated
from t2c_jax.sandbox.pool import Sandbox
from t2c_jax.workdir import digest

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair
    from t2c_jax.languages.execution import Execution

NO_LANGUAGE = "the pair names no language"
NO_RUNNER = "nothing runs this language"
NOT_INSTALLED = "its language is not installed"
NOT_COMPILED = "the tests or the reference do not compile"
HANGS = "the reference does not end within its limits"
FAILS = "the reference does not pass"
CHANGES = "the reference gives another result each time"
EMPTY_PASSES = "an empty answer passes"

_NOT_COMPILED = ("SyntaxError", "IndentationError", "TabError")


T = TypeVar("T")


@dataclass
class _Problem:
    """A pair that can be run, and what is known of it.

    Attributes:
      tests, reference, setup, runner: what makes a program of an answer.
      checked: whether the reference and the empty answer were run, or need not be.
      left_out, message: as in ``ProblemOutcome``.
      limits: of answers.
      expected: what came of the reference.
      judgements: of the answers so far.
    """

    tests: Execution
    reference: str
    setup: str
    runner: Runner | None
    checked: bool = False
    left_out: str = ""
    message: str = ""
    limits: Limits = field(default_factory=Limits)
    expected: Outcome | None = None
    judgements: dict[str, Judgement] = field(default_factory=dict)

    def program(self, answer: str) -> Program:
        assert self.runner is not None
        return dataclasses.replace(self.runner.program(self.tests, answer, self.setup), limits=self.limits)

    def judge(self, outcome: Outcome) -> Judgement:
        assert self.runner is not None
        return self.runner.judge(outcome, self.expected, self.reference)

    def unread(self, outcome: Outcome) -> str:
        assert self.runner is not None
        return self.runner.unread(outcome)

    def leave_out(self, reason: str, message: str = "") -> None:
        self.checked, self.left_out, self.message = True, reason, message


class Executor:
    """Runs answers to pairs that have tests.

    A problem is left out where the reference does not pass, or an empty answer does. What was found once, of problems
    and of answers, is kept for later calls, except for programs that the sandbox failed to run.

    Attributes:
      rung: the isolation in use; empty before the first call.
    """

    def __init__(self, config: ExecutionConfig, *, risk_accepted: bool = False) -> None:
        """Opens nothing yet; see ``Sandbox.open`` for ``risk_accepted``."""
        self.rung = ""
        self._config, self._risk_accepted = config, risk_accepted
        self._problems: dict[str, _Problem] = {}
        self._failure = ""  # why the sandbox did not run a program

    def require(self) -> None:
        """Whether programs can be run here.

        Raises:
          UserError: there is no isolation, and the risk is not accepted.
        """
        if not self.rung:
            with self._opened():
                pass

    def run(self, pairs: Sequence[Pair], answers: Sequence[Sequence[str]]) -> list[ProblemOutcome]:
        """What came of all answers to each pair, in their order.

        Args:
          pairs: each has ``tests``.
          answers: for each pair one or more.

        Raises:
          UserError: as for ``require``.
        """
        problems = [self._problem(pair) for pair in pairs]
        unchecked = [each for each in {id(each): each for each in problems}.values() if not each.checked]
        asked = {
            (id(problem), answer): (problem, answer)
            for problem, own in zip(problems, answers, strict=True)
            for answer in own
            if not problem.left_out and answer not in problem.judgements
        }
        if unchecked or asked:
            with self._opened() as sandbox, console.progress("run the answers", None, "programs") as bar:
                self._check(sandbox, unchecked, bar.advance)
                ready = [each for each in asked.values() if each[0].checked and not each[0].left_out]
                for (problem, answer), outcome in self._outcomes(
                    sandbox, ready, lambda each: each[0].program(each[1]), bar.advance
                ):
                    problem.judgements[answer] = problem.judge(outcome)
        return [self._trial(problem, own) for problem, own in zip(problems, answers, strict=True)]

    def _opened(self) -> Sandbox:
        sandbox = Sandbox.open(risk_accepted=self._risk_accepted)
        self.rung = sandbox.rung
        return sandbox

    def _problem(self, pair: Pair) -> _Problem:
        assert pair.tests is not None
        language = canonical(pair.language)
        key = digest(language, pair.code, pair.tests.to_json())
        if key not in self._problems:
            runner = runner_for(pair.tests, language)
            problem = _Problem(pair.tests, pair.code, self._config.setup_of(language), runner)
            if not language:
                problem.leave_out(NO_LANGUAGE)
            elif runner is None:
                problem.leave_out(NO_RUNNER, language)
            elif runner.language not in LANGUAGES:
                problem.leave_out(NO_RUNNER, runner.language)
            elif missing := LANGUAGES[runner.language].missing():
                problem.leave_out(NOT_INSTALLED, missing)
            self._problems[key] = problem
        return self._problems[key]

    def _check(self, sandbox: Sandbox, problems: Sequence[_Problem], advance: Callable[[], object]) -> None:
        """Runs the references, and empty answers within the limits that the references call for."""
        config = self._config
        memory = config.memory_mib * MIB
        for problem in problems:
            problem.limits = Limits(cpu_seconds=config.reference_cpu_seconds, memory_bytes=memory)
        passed = []
        for problem, outcome in self._outcomes(sandbox, problems, lambda each: each.program(each.reference), advance):
            judgement = problem.judge(outcome)
            if complaint := problem.unread(outcome):
                problem.leave_out(NOT_COMPILED, complaint)
            elif judgement.status == "passed":
                least = Limits(cpu_seconds=config.cpu_seconds, memory_bytes=memory)
                problem.limits, problem.expected = calibrated(least, outcome, config.cpu_factor), outcome
                passed.append(problem)
            elif judgement.status == "timeout":
                problem.leave_out(HANGS, judgement.message)
            elif judgement.message.startswith(_NOT_COMPILED):
                problem.leave_out(NOT_COMPILED, judgement.message)
            else:
                problem.leave_out(FAILS, judgement.message)
        compared = [each for each in passed if each.runner is not None and each.runner.compares]
        for problem, outcome in self._outcomes(sandbox, compared, lambda each: each.program(each.reference), advance):
            if (judgement := problem.judge(outcome)).status != "passed":
                problem.leave_out(CHANGES, judgement.message)
        passed = [each for each in passed if not each.left_out]
        for problem, outcome in self._outcomes(sandbox, passed, lambda each: each.program(""), advance):
            problem.checked = True
            if problem.judge(outcome).status == "passed":
                problem.leave_out(EMPTY_PASSES)

    def _outcomes(
        self, sandbox: Sandbox, items: Sequence[T], program: Callable[[T], Program], advance: Callable[[], object]
    ) -> Iterator[tuple[T, Outcome]]:
        """The outcome of each item's program, except for those that the sandbox failed to run."""
        outcomes = sandbox.run(map(program, items))
        for item in items:
            try:
                outcome = next(outcomes)
            except (StopIteration, OSError, EOFError) as error:
                self._failure = one_line(str(error)) or "the sandbox ended"
                return
            advance()
            if outcome.status == "not_run":
                self._failure = one_line(outcome.reason)
            else:
                yield item, outcome

    def _trial(self, problem: _Problem, answers: Sequence[str]) -> ProblemOutcome:
        if problem.left_out:
            return ProblemOutcome(problem.left_out, problem.message)
        not_run = Judgement("not_run", self._failure)
        return ProblemOutcome(judgements=tuple(problem.judgements.get(answer, not_run) for answer in answers))


@functools.lru_cache(maxsize=4)
def executor_of(config: ExecutionConfig, *, risk_accepted: bool) -> Executor:
    """One for all metrics of a config, so that they share what was run, as several checkpoints of a run do."""
    return Executor(config, risk_accepted=risk_accepted)
