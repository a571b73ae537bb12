"""Metrics that run the answers: what passes, what is left out, and what is said of it."""

import dataclasses
import itertools
import json
import shutil
from pathlib import Path

import pytest
from evaluate_examples import pair
from humaneval_problems import PROBLEMS
from small_run import main, trained  # noqa: F401

from t2c_jax.config import EvaluateConfig, ExecutionConfig
from t2c_jax.corpus.execution_fields import execution_of
from t2c_jax.corpus.pairs import Pair
from t2c_jax.errors import UserError
from t2c_jax.evaluate import checkpoints
from t2c_jax.evaluate.evaluator import evaluate_predictions, write_evaluation
from t2c_jax.evaluate.execution import executor
from t2c_jax.evaluate.execution.execution_report import report_execution
from t2c_jax.evaluate.execution.executor import Executor
from t2c_jax.evaluate.metrics.metric import metrics_named
from t2c_jax.evaluate.metrics.pass_at_k import pass_at_k
from t2c_jax.languages.execution import Execution
from t2c_jax.sandbox.ladder import RISK_FLAG
from t2c_jax.sandbox.outcomes import Outcome

# Of each canonical solution: a text in it, and what makes a mutant of it.
MUTANTS = [
    [("result[-1]", "result[0]"), ("max(", "min("), ("not result", "result"), ("return result", "return numbers")],
    [("count += 1", "count -= 1"), ("in text.lower()", "in text"), ('"yY"', '"xX"'), ("if text and", "if")],
    [("** 2", "** 3"), ("== n", "!= n"), ("n < 0", "n > 0"), ("return False", "return True")],
]
FAST = EvaluateConfig(
    bootstrap_samples=20,
    metrics=("pass_at_1", "pass_at_3", "exact_match"),
    execution=ExecutionConfig(cpu_seconds=0.4, reference_cpu_seconds=1.0, memory_mib=256),
)


def problem(values: dict[str, str]) -> Pair:
    made = pair(values["task_id"], values["prompt"], values["canonical_solution"])
    return dataclasses.replace(made, tests=execution_of(values))


def executable(code: str, language: str | None = None, **tests: str) -> Pair:
    language = "python" if language is None else language
    return dataclasses.replace(pair(code, "text", code, language=language), tests=Execution(**tests))


PAIRS = [problem(values) for values in PROBLEMS]


@pytest.fixture(scope="module", autouse=True)
def sandbox():
    """Skips where this machine has no isolation."""
    try:
        Executor(FAST.execution).require()
    except UserError as reason:
        pytest.skip(str(reason))


def run(pairs, answers, config=FAST.execution):
    return Executor(config).run(pairs, answers)


@pytest.mark.parametrize("samples", range(1, 7))
def test_the_estimator_is_the_mean_over_all_choices_of_k_samples(samples: int):
    for passed, k in itertools.product(range(samples + 1), range(1, samples + 1)):
        choices = [any(chosen) for chosen in itertools.combinations([n < passed for n in range(samples)], k)]
        assert pass_at_k(samples, passed, k) == pytest.approx(sum(choices) / len(choices), abs=1e-12)


def test_the_estimator_of_too_few_samples_is_refused():
    for samples, k in ((2, 3), (2, 0)):
        with pytest.raises(ValueError, match="samples"):
            pass_at_k(samples, 0, k)


def test_canonical_solutions_pass_and_mutants_fail():
    answers = []
    for each, changes in zip(PAIRS, MUTANTS, strict=True):
        assert all(old in each.code for old, _ in changes)
        answers.append([each.code, *(each.code.replace(old, new) for old, new in changes)])
    for trial in run(PAIRS, answers):
        assert not trial.left_out
        assert trial.judgements[0].status == "passed"
        assert {each.status for each in trial.judgements[1:]} <= {"failed", "error"}


# Answers to the first problem: status, and how the reason begins.
ANSWERS = {
    "def running_max(numbers):\n    from itertools import accumulate\n    return list(accumulate(numbers, max))": (
        "passed",
        "",
    ),
    "    return numbers\n": ("failed", "AssertionError"),
    "    return nombers\n": ("error", "NameError: name 'nombers' is not defined"),
    "    return (\n": ("error", "SyntaxError"),
    "return numbers": ("error", "SyntaxError: 'return' outside function"),
    "    raise ValueError('two\\nlines')\n": ("error", "ValueError: two"),
    "    while True: pass\n": ("timeout", "used more than 0.4 s of CPU time"),
    "    return [0] * 10**9\n": ("memory", ""),
    "    import sys; sys.exit(0)\n": ("error", "exited"),
    "    import os; os._exit(0)\n": ("error", "exited"),
    "    import os; os.abort()\n": ("error", "signal"),
    "    print('x' * 2**21)\n": ("output", ""),
    "    return __import__('builtins').list(__import__('itertools').accumulate(numbers, max))": ("passed", ""),
    "    assert __name__ != '__main__'\n    return [max(numbers[: n + 1]) for n in range(len(numbers))]": (
        "passed",
        "",
    ),
}


def test_each_answer_has_an_outcome_with_a_reason():
    (trial,) = run(PAIRS[:1], [[*ANSWERS]])
    for (answer, (status, reason)), found in zip(ANSWERS.items(), trial.judgements, strict=True):
        assert found.status == status, (answer, found)
        assert found.message.startswith(reason), (answer, found)
        assert bool(found.message) == (status != "passed")
        assert "\n" not in found.message


LEFT_OUT = {
    executor.NOT_COMPILED: executable("def f(): return 1", test="assert f() = 1"),
    executor.HANGS: executable("def f(): return 1", test="while f(): pass"),
    executor.FAILS: executable("def f(): return 1", test="assert f() == 2"),
    executor.EMPTY_PASSES: executable("def f(): return 1", test="assert 1"),
    executor.NO_LANGUAGE: executable("f", language="", test="f"),
    executor.NO_RUNNER: executable("f", language="cobol", test="f"),
}


def test_problems_that_cannot_be_scored_are_left_out_with_the_reason(tmp_path: Path):
    pairs = [*LEFT_OUT.values(), *PAIRS[:1], pair("plain", "no tests", "x = 1")]
    answers = [[each.code] for each in pairs]
    evaluation = evaluate_predictions(pairs, answers, pairs, dataclasses.replace(FAST, metrics=("pass_at_1",)), seed=0)
    summary = evaluation.scores["execution"]
    assert summary["left_out"] == dict.fromkeys(LEFT_OUT, 1)
    assert (summary["problems"], summary["scored"], summary["not_run"]) == (len(LEFT_OUT) + 1, 1, 0)
    assert summary["answers"] == {"passed": 1}
    assert evaluation.scores["model"]["pass_at_1"]["value"] == 100
    for example, reason in zip(evaluation.examples, LEFT_OUT, strict=False):
        assert example["execution"]["left_out"] == reason
        assert example["statistics"] == {"pass_at_1": [0, 0]}
    assert "execution" not in evaluation.examples[-1]
    write_evaluation(tmp_path, evaluation)
    page = (tmp_path / "report.html").read_text("utf-8")
    for reason in LEFT_OUT:
        assert f"<li>1: {reason}</li>" in page
    assert "SyntaxError" in page


def test_scores_of_several_samples(tmp_path: Path):
    """The baseline's three nearest are the three references, so it has each problem within three attempts."""
    wrong = "    return numbers\n"
    samples = [[each.code, "    return 1 / 0\n", wrong, wrong] for each in PAIRS[:2]] + [[wrong] * 4]
    candidates = [list(dict.fromkeys(own)) for own in samples]
    evaluation = evaluate_predictions(PAIRS, candidates, PAIRS, FAST, seed=0, samples=samples)
    scores = evaluation.scores
    assert scores["model"]["pass_at_1"]["value"] == pytest.approx(100 * (0.25 + 0.25 + 0) / 3, abs=1e-3)
    assert scores["model"]["pass_at_3"]["value"] == pytest.approx(100 * (0.75 + 0.75 + 0) / 3, abs=1e-3)
    assert scores["retrieval"]["pass_at_1"]["value"] == scores["retrieval"]["pass_at_3"]["value"] == 100
    assert scores["model"]["pass_at_1"]["standard_error"] > 0
    low, high = scores["model"]["pass_at_1"]["interval"]
    assert 0 <= low < scores["model"]["pass_at_1"]["value"] < high <= 25
    assert "isolation: " in scores["signatures"]["pass_at_3"]
    assert (
        scores["execution"]["answers"] == {"passed": 2, "failed": 2, "error": 8} or scores["execution"]["scored"] == 3
    )
    first = evaluation.examples[0]["execution"]
    assert (first["samples"], first["passed"]) == (4, 1)
    assert [(each["count"], each["status"]) for each in first["attempts"]] == [
        (1, "passed"),
        (1, "error"),
        (2, "failed"),
    ]
    assert first["attempts"][1]["message"] == "ZeroDivisionError: division by zero"
    write_evaluation(tmp_path, evaluation)
    assert json.loads((tmp_path / "predictions.jsonl").read_text("utf-8").splitlines()[0])["execution"] == first
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "1 of 4 passed" in page
    assert f"pass@1 16.7, 95 % interval {low:.1f} to {high:.1f}" in page
    assert "1 error: ZeroDivisionError: division by zero" in page
    assert "nothing was run" not in page


class Failing:
    """A sandbox that runs a number of programs, of all that are opened, and then disappears in some way."""

    rung = "failing"

    def __init__(self, programs: int, end: str) -> None:
        self.left, self.end = programs, end

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def run(self, programs):
        for program in programs:
            self.left -= 1
            if self.left < 0:
                if self.end == "returns":
                    return
                if self.end == "raises":
                    raise EOFError("the server is gone")
                yield Outcome("not_run", None, "", "", 0.0, reason="the server is gone")
            elif "result.append" in program.source:
                yield Outcome("passed", 0, "", "", 0.01)
            else:
                yield Outcome("failed", 1, "", "", 0.01, reason="exit status 1")


@pytest.mark.parametrize("end", ["returns", "raises", "says so"])
@pytest.mark.parametrize("programs", [0, 1, 2, 3])
def test_a_sandbox_that_disappears_is_no_score(programs: int, end: str, monkeypatch: pytest.MonkeyPatch, capsys):
    """After none, the reference, the empty answer, and the first of two answers."""
    answers, fast = [[PAIRS[0].code, "    return 0\n"]], dataclasses.replace(FAST, metrics=("pass_at_1",))
    executor.executor_of.cache_clear()
    failing = Failing(programs, end)
    monkeypatch.setattr(executor.Sandbox, "open", lambda **_: failing)
    evaluation = evaluate_predictions(PAIRS[:1], answers, PAIRS[:1], fast, seed=0, samples=answers)
    summary = evaluation.scores["execution"]
    assert (summary["problems"], summary["scored"], summary["not_run"]) == (1, 0, 1)
    assert evaluation.scores["model"]["pass_at_1"]["value"] is None
    assert evaluation.scores["verdict"]["pass_at_1"] == "not applicable"
    report_execution(summary)
    assert "1 problems are not scored, since the sandbox failed: the s" in capsys.readouterr().err
    monkeypatch.undo()
    again = evaluate_predictions(PAIRS[:1], answers, PAIRS[:1], fast, seed=0, samples=answers)
    assert again.scores["model"]["pass_at_1"]["value"] == 50
    executor.executor_of.cache_clear()


def test_equal_answers_are_run_once(monkeypatch: pytest.MonkeyPatch):
    own, programs = Executor(FAST.execution), []
    run_all = executor.Sandbox.run
    monkeypatch.setattr(
        executor.Sandbox, "run", lambda self, asked: run_all(self, (programs.append(each) or each for each in asked))
    )
    for _ in range(2):
        own.run(PAIRS[:2], [["    return 1\n", "    return 1\n"], ["    return 2\n"]])
    assert len([each for each in programs if "answer.py" in each.source]) == 2 * 2 + 2


def test_the_limit_follows_the_reference():
    slow = "def f(n):\n    import time\n    while time.process_time() < n:\n        pass\n    return n"
    limits = ExecutionConfig(cpu_seconds=0.1, cpu_factor=4.0, reference_cpu_seconds=5.0)
    answers = [[slow, slow.replace("< n", "< 2 * n"), slow.replace("< n", "< 50 * n")]]
    (trial,) = run([executable(slow, test="assert f(0.1)")], answers, limits)
    assert [each.status for each in trial.judgements] == ["passed", "passed", "timeout"]


def test_the_setup_of_a_language():
    limits = dataclasses.replace(FAST.execution, setup=("python=import math", "python=two = 2", "sql=broken"))
    limits.check("key")
    future = "from __future__ import annotations"
    (trial,) = run(
        [executable("f = math.pi", setup=future, test="assert f > two")], [["f = math.tau", "f = 1"]], limits
    )
    assert [each.status for each in trial.judgements] == ["passed", "failed"]
    for wrong in ("pyton=x", "python"):
        with pytest.raises(UserError, match="python"):
            dataclasses.replace(limits, setup=(wrong,)).check("key")


def test_doctests():
    doctest = ">>> f(2)\n4\n\n>>> f(None)\nTraceback (most recent call last):\n    ...\nTypeError: no number\n"
    code = "def f(x):\n    if x is None:\n        raise TypeError('no number')\n    return x * 2"
    wrong = {code.replace("* 2", "* 3"): "AssertionError: f(2) gave 6, not 4", code.replace("x is", "x.y is"): "Attr"}
    (trial,) = run([executable(code, doctest=doctest)], [[code, *wrong]])
    assert [each.status for each in trial.judgements] == ["passed", "failed", "error"]
    for found, reason in zip(trial.judgements[1:], wrong.values(), strict=True):
        assert found.message.startswith(reason)


def test_more_samples_than_there_are_are_refused():
    (metric,) = metrics_named(("pass_at_5",), FAST)
    with pytest.raises(
        UserError, match=r"pass_at_5 needs 5 samples, and this search gives 1: set config.decode.samples=5"
    ):
        metric.check(1)
    metric.check(5)


def test_a_metric_without_problems_has_no_score(tmp_path, capsys):
    plain = [pair("a", "text", "code")]
    evaluation = evaluate_predictions(plain, [["code"]], plain, FAST, seed=0)
    assert evaluation.scores["model"]["pass_at_1"]["value"] is None
    assert evaluation.scores["model"]["exact_match"]["value"] == 100
    report_execution(evaluation.scores["execution"])
    assert "no pair has tests" in capsys.readouterr().err
    write_evaluation(tmp_path, evaluation)
    text = (tmp_path / "report.html").read_text("utf-8")
    assert "None: no pair has tests" in text
    assert "Outcome of each problem" not in text
    assert "Not applicable" not in text


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_tests_of_a_shell_script():
    """An answer may not skip its tests."""
    answers = {
        "twice() { echo $((2 * $1)); }": "passed",
        "twice() { echo $(($1 + $1)); }; echo noise": "passed",
        "twice() { echo $1; }": "failed",
        "exit 0": "error",
        "exec true": "error",
    }
    first, *others = answers
    made = executable(first, "bash", test='[ "$(twice 2)" = 4 ]\n[ "$(twice 0)" = 0 ]')
    (outcome,) = run([made], [[first, *others]])
    assert [each.status for each in outcome.judgements] == [*answers.values()]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_tests_of_javascript():
    answers = {
        "const twice = x => 2 * x": "passed",
        "function twice(x) { return x }": "failed",
        "function twice(x) { return y }": "error",
        "process.exit(0)": "error",
        "const twice = (": "error",
    }
    first, *others = answers
    made = executable(first, "javascript", test="require('assert').strictEqual(twice(2), 4)")
    (outcome,) = run([made], [[first, *others]])
    assert [each.status for each in outcome.judgements] == [*answers.values()]


def test_the_command_is_refused_without_a_sandbox(trained, monkeypatch, capsys):  # noqa: F811
    """Before anything is decoded; with the flag it runs, and says that no pair has tests."""

    def refuse(*, risk_accepted):
        if not risk_accepted:
            raise UserError("this machine offers no sandbox")
        return Failing(0, "returns")

    executor.executor_of.cache_clear()
    monkeypatch.setattr(executor.Sandbox, "open", refuse)
    command = ("evaluate", "--workdir", trained, "--config.evaluate.metrics=pass_at_1")
    train = ("train", "--workdir", trained, "--config.train.stop_metric=pass_at_1", "--config.train.steps=14")
    for refused in (command, ("run", *command[1:]), train, ("rerank", *command[1:])):
        assert main(*refused) == 2
        assert "this machine offers no sandbox" in capsys.readouterr().err
    assert not (trained / "evaluations").exists()
    assert main(*command, "--config.evaluate.max_examples=2", RISK_FLAG) == 0
    assert "no pair has tests" in capsys.readouterr().err
    assert main("evaluate", "--workdir", trained, "--config.evaluate.metrics=pass_at_5", RISK_FLAG) == 2
    assert "pass_at_5 needs 5 samples" in capsys.readouterr().err
    executor.executor_of.cache_clear()


def test_a_checkpoint_is_scored_on_all_of_its_samples(trained, monkeypatch, capsys):  # noqa: F811
    """Two of the pairs have tests; what the model writes after 12 steps passes none."""
    plain = [pair(f"plain-{n}", f"text {n}", "x = 1") for n in range(2)]
    monkeypatch.setattr(checkpoints, "prompt_pairs", lambda workdir, split, direction: [*PAIRS[:2], *plain])
    metrics = "--config.evaluate.metrics=pass_at_1,pass_at_3,execution_match"
    sampling = ("--samples", "3", "--temperature", "2", "--config.evaluate.execution.cpu_seconds=0.5")
    assert main("evaluate", "--workdir", trained, metrics, *sampling, "--json") == 0
    said = capsys.readouterr()
    scores = json.loads(said.out)
    assert "ran 6 answers to 2 problems: " in said.err
    summary = scores["execution"]
    assert (summary["problems"], summary["scored"], sum(summary["answers"].values())) == (2, 2, 6)
    assert scores["model"]["pass_at_1"]["value"] == scores["model"]["pass_at_3"]["value"] == 0
    assert scores["model"]["execution_match"]["value"] is None
    assert scores["retrieval"]["pass_at_3"]["value"] == 100
    path = trained / "evaluations" / scores["name"] / "predictions.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    attempts = [sum(each["count"] for each in line["execution"]["attempts"]) for line in lines[:2]]
    assert attempts == [3, 3]
    assert not any("execution" in line for line in lines[2:])
