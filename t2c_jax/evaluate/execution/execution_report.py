"""What came of the problems that were run: for scores.json, for the terminal and for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from t2c_jax import console
from t2c_jax.evaluate.execution.judgement import STATUSES
from t2c_jax.pages.page import escape, visible

_ROWS = 1000  # problems in the report's table
_NO_PROBLEMS = "no pair has tests, a database or files to run its answer on; metrics that run code have no score"


def execution_summary(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts of an evaluation.

    Args:
      examples: lines of predictions.jsonl; those of problems have ``execution``.

    Returns:
      ``problems``: pairs that are run; ``scored``: those that count; ``left_out``: how many do not, by reason;
      ``not_run``: those that the sandbox failed to run, which do not count either, and ``reason``; ``answers``: how
      many have which outcome.
    """
    problems = [example["execution"] for example in examples if "execution" in example]
    left_out = Counter(each["left_out"] for each in problems if "left_out" in each)
    run = [each for each in problems if "left_out" not in each]
    answers: Counter[str] = Counter()
    failures = []
    for each in run:
        for attempt in each["attempts"]:
            answers[attempt["status"]] += attempt["count"]
        failures += [attempt["message"] for attempt in each["attempts"] if attempt["status"] == "not_run"][:1]
    return {
        "problems": len(problems),
        "scored": len(run) - len(failures),
        "left_out": dict(left_out.most_common()),
        "not_run": len(failures),
        **({"reason": failures[0]} if failures else {}),
        "answers": {status: answers[status] for status in STATUSES if answers[status]},
    }


def report_execution(summary: Mapping[str, Any]) -> None:
    """Says what ``execution_summary`` found."""
    if not summary["problems"]:
        console.warn(_NO_PROBLEMS)
        return
    console.say(f"ran {_outcomes(summary)}")
    if summary["left_out"]:
        console.warn(f"{sum(summary['left_out'].values()):,} problems are not scored: {_listed(summary['left_out'])}")
    if summary["not_run"]:
        console.warn(
            f"{summary['not_run']:,} problems are not scored, since the sandbox failed: {summary['reason']};"
            " the same command evaluates again"
        )


def execution_section(summary: Mapping[str, Any], scores: Sequence[str], examples: Sequence[Mapping[str, Any]]) -> str:
    """HTML of the summary, of the scores in words, and of each problem's outcome."""
    if not summary["problems"]:
        return f"<h2>Problems that were run</h2><p>None: {_NO_PROBLEMS}.</p>"
    rows = [example for example in examples if "execution" in example]
    left_out = [f"{count:,}: {reason}" for reason, count in summary["left_out"].items()]
    if summary["not_run"]:
        left_out.append(f"{summary['not_run']:,}: the sandbox failed ({summary['reason']})")
    more = f" The first {_ROWS:,} are shown." if len(rows) > _ROWS else ""
    return (
        f"<h2>Problems that were run</h2><p>{escape('; '.join([_outcomes(summary), *scores]))}.</p>"
        + (
            "<p>Not scored:</p><ul>" + "".join(f"<li>{escape(line)}</li>" for line in left_out) + "</ul>"
            if left_out
            else ""
        )
        + f'<details><summary>Outcome of each problem.{more}</summary><div class="scroll"><table>'
        + '<tr><th class="words">problem</th><th class="words">outcome</th><th class="words">reason</th></tr>'
        + "".join(_row(example) for example in rows[:_ROWS])
        + "</table></div></details>"
    )


def execution_fact(execution: Mapping[str, Any]) -> str:
    """What came of one problem, in a few words."""
    if "left_out" in execution:
        return "not scored"
    if execution["samples"] == 1:
        return str(execution["attempts"][0]["status"])
    return f"{execution['passed']} of {execution['samples']} passed"


def _row(example: Mapping[str, Any]) -> str:
    execution = example["execution"]
    cells = (example["id"], execution_fact(execution), "; ".join(_reasons(execution)))
    return "<tr>" + "".join(f'<td class="words">{escape(visible(cell))}</td>' for cell in cells) + "</tr>"


def _reasons(execution: Mapping[str, Any]) -> Iterator[str]:
    """Why the problem is left out, or the distinct reasons of its failures, most frequent first."""
    if "left_out" in execution:
        yield ": ".join(filter(None, (execution["left_out"], execution["message"])))
        return
    reasons: Counter[str] = Counter()
    for attempt in execution["attempts"]:
        if attempt["status"] != "passed":
            reasons[f"{attempt['status']}: {attempt['message']}"] += attempt["count"]
    for reason, count in reasons.most_common(3):
        yield reason if execution["samples"] == 1 else f"{count} {reason}"


def _outcomes(summary: Mapping[str, Any]) -> str:
    answers = summary["answers"]
    found = ", ".join(f"{count:,} {status.replace('_', ' ')}" for status, count in answers.items())
    return f"{sum(answers.values()):,} answers to {summary['scored']:,} problems" + (f": {found}" if found else "")


def _listed(counts: Mapping[str, int]) -> str:
    return "; ".join(f"{count:,}: {name}" for name, count in counts.items())
