"""What came of one answer, and of the problem that it answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from t2c_jax.sandbox.outcomes import Outcome

Status = Literal["passed", "failed", "error", "timeout", "memory", "output", "not_run"]
STATUSES: tuple[Status, ...] = ("passed", "failed", "error", "timeout", "memory", "output", "not_run")

_LONGEST = 200  # characters of a message
_TRACEBACK = "Traceback (most recent call last):"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of one answer.

    Attributes:
      status: ``passed``; ``failed``: a test failed or the result differs from the reference's; ``error``: the program
        broke off; ``timeout``, ``memory``, ``output``: it went beyond a limit; ``not_run``: the sandbox failed, which
        says nothing about the answer.
      message: the reason, one line; empty if it passed.
    """

    status: Status
    message: str = ""


@dataclass(frozen=True, slots=True)
class ProblemOutcome:
    """What came of all answers to one problem.

    Attributes:
      left_out: why the problem is not scored; empty if it is.
      message: what the reference or the empty answer did, for a problem that is left out.
      judgements: of each answer; none for a problem that is left out.
    """

    left_out: str = ""
    message: str = ""
    judgements: Sequence[Judgement] = ()

    @property
    def scored(self) -> bool:
        """Whether every answer was run."""
        return bool(self.judgements) and all(each.status != "not_run" for each in self.judgements)

    @property
    def passed(self) -> int:
        """How many of the answers passed."""
        return sum(each.status == "passed" for each in self.judgements)


def limit_broken(outcome: Outcome) -> Judgement | None:
    """The judgement of a program that did not come to its own end; None for one that did."""
    match outcome.status:
        case "cpu_time":
            return Judgement("timeout", one_line(outcome.reason))
        case "memory" | "output" | "not_run":
            return Judgement(outcome.status, one_line(outcome.reason))
        case "killed":
            waited = not outcome.reason.startswith("signal")
            return Judgement("timeout" if waited else "error", one_line(outcome.reason))
    return None


def exception_line(stderr: str) -> str:
    """The line of a Python traceback, or of two chained ones, that names the exception; empty without a traceback."""
    found, inside = "", False
    for line in stderr.splitlines():
        if line == _TRACEBACK:
            inside = True
        elif inside and line and not line.startswith(" "):
            found, inside = line, False
    return one_line(found)


def last_line(stderr: str) -> str:
    """The last line that is not blank."""
    return one_line(next((line for line in reversed(stderr.splitlines()) if line.strip()), ""))


def one_line(text: str) -> str:
    """The text without line ends and cut to a readable length."""
    flat = re.sub(r"\s+", " ", text).strip()
    return flat if len(flat) <= _LONGEST else f"{flat[: _LONGEST - 1]}…"
