import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from evaluate_examples import pair, write_run

from t2c_jax.errors import UserError
from t2c_jax.evaluate.run_comparison import RunComparison, compare_runs, show_number, show_p
from t2c_jax.evaluate.saved_evaluation import open_evaluations

CODES = [f"def f{n}(a):\n    return a + {n}" + f"\n    # {n}" * (n % 4) for n in range(24)]
PAIRS = [
    pair(str(n), f"add {n}", code, kind="function" if n % 2 else "method", language="python" if n % 3 else "bash")
    for n, code in enumerate(CODES)
]
WRONG = [code.replace("return", "yield") for code in CODES]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three workdirs: all wrong, half right, all right."""
    root = tmp_path_factory.mktemp("runs")
    answers = {"none": WRONG, "half": CODES[:12] + WRONG[12:], "all": CODES}
    for name, each in answers.items():
        write_run(root / name, PAIRS, each)
    return [root / name for name in answers]


@pytest.fixture(scope="module")
def comparison(runs: list[Path]) -> RunComparison:
    return compare_runs(open_evaluations([str(run) for run in runs]), resamples=200, seed=0)


def test_differences_are_those_of_the_scores(comparison: RunComparison):
    result = comparison.result
    assert (result["baseline"], result["pairs"], result["split"]) == ("none", 24, "test")
    assert [*result["against_baseline"]] == ["half", "all"]
    exact = {run: found["metrics"]["exact_match"] for run, found in result["against_baseline"].items()}
    assert (exact["half"]["difference"], exact["all"]["difference"]) == (50.0, 100.0)
    assert (exact["half"]["wins"], exact["half"]["losses"], exact["half"]["ties"]) == (12, 0, 12)
    assert exact["half"]["test"] == "exact McNemar"
    assert exact["half"]["p_value"] == pytest.approx(2 / 2**12, abs=1e-6)
    assert exact["half"]["corrected"] == exact["half"]["p_value"]  # the larger of two: Holm leaves it
    assert exact["all"]["corrected"] == pytest.approx(2 * exact["all"]["p_value"], abs=1e-6)
    assert exact["half"]["verdict"] == "better"
    chrf = result["against_baseline"]["all"]["metrics"]["chrf"]
    assert chrf["test"] == "paired bootstrap"
    assert 0 < chrf["interval"][0] < chrf["difference"] < chrf["interval"][1]
    assert chrf["difference"] == pytest.approx(
        result["scores"]["all"]["chrf"]["value"] - result["scores"]["none"]["chrf"]["value"], abs=1e-3
    )
    json.dumps(result, allow_nan=False)


def test_groups_hold_every_pair_once(comparison: RunComparison):
    found = comparison.result["against_baseline"]["half"]
    for axis, names in (("by_kind", ["function", "method"]), ("by_language", ["bash", "python"])):
        assert [group[axis.removeprefix("by_")] for group in found[axis]] == names
    for axis in ("by_length", "by_kind", "by_language"):
        assert sum(group["pairs"] for group in found[axis]) == 24
        for outcome in ("wins", "losses", "ties"):
            whole = found["metrics"]["exact_match"][outcome]
            assert sum(group["metrics"]["exact_match"][outcome] for group in found[axis]) == whole
    assert len(found["by_length"]) > 1


def test_statistics_that_were_kept_are_those_that_are_computed(runs: list[Path], tmp_path: Path):
    """An evaluation from before they were kept gives the same comparison."""
    old = tmp_path / "half"
    shutil.copytree(runs[1], old)
    rewrite(old, lambda number, line: json.dumps(without(json.loads(line), "statistics")))
    new, again = (
        compare_runs(open_evaluations([str(runs[0]), str(run)]), resamples=100, seed=0).result for run in (runs[1], old)
    )
    assert again["against_baseline"] == new["against_baseline"]


def test_kept_statistics_are_read_and_not_computed_again(runs: list[Path], tmp_path: Path):
    changed = tmp_path / "half"
    shutil.copytree(runs[1], changed)

    def all_right(number: int, line: str) -> str:
        values = json.loads(line)
        values["statistics"]["exact_match"] = [1.0, 1.0]
        return json.dumps(values)

    rewrite(changed, all_right)
    result = compare_runs(open_evaluations([str(runs[0]), str(changed)]), resamples=100, seed=0).result
    assert result["scores"]["half"]["exact_match"]["value"] == 100
    scores = json.loads((evaluation(changed) / "scores.json").read_text())
    scores["signatures"]["exact_match"] = "an older definition"
    (evaluation(changed) / "scores.json").write_text(json.dumps(scores))
    result = compare_runs(open_evaluations([str(runs[0]), str(changed)]), resamples=100, seed=0).result
    assert result["scores"]["half"]["exact_match"]["value"] == 50


def test_pairs_and_metrics_that_one_run_lacks_are_left_out_and_counted(runs: list[Path], tmp_path: Path):
    write_run(tmp_path / "fewer", PAIRS[5:], CODES[5:], metrics=("chrf", "exact_match"))
    result = compare_runs(open_evaluations([str(runs[0]), str(tmp_path / "fewer")]), resamples=100, seed=0).result
    assert result["pairs"] == 19
    assert [run["pairs_left_out"] for run in result["runs"]] == [5, 0]
    assert result["metrics"] == ["exact_match", "chrf"]
    assert result["metrics_left_out"] == dict.fromkeys(("bleu", "parses"), "not in all runs")


def test_a_metric_that_cannot_be_computed_again(tmp_path: Path):
    """What needs training pairs, or runs answers, is compared as it was written, or not at all."""
    for name, answers in (("a", WRONG), ("b", CODES)):
        write_run(tmp_path / name, PAIRS, answers, metrics=("crystal_bleu", "exact_match", "codebleu"))
    names = [str(tmp_path / name) for name in "ab"]

    def compared() -> dict[str, Any]:
        return compare_runs(open_evaluations(names), resamples=100, seed=0).result

    result = compared()
    written = [json.loads((evaluation(tmp_path / name) / "scores.json").read_text()) for name in "ab"]
    assert "codebleu" in result["metrics"]
    assert len(result["metrics"]) > 3  # the parts of codebleu
    for label, scores in zip("ab", written, strict=True):
        for metric in result["metrics"]:
            assert result["scores"][label][metric]["value"] == scores["model"][metric]["value"], metric
    first = json.loads((evaluation(tmp_path / "a") / "predictions.jsonl").read_text("utf-8").splitlines()[0])
    assert set(first["statistics"]) == {"crystal_bleu", "exact_match", "codebleu"}
    written[1]["signatures"] |= {"crystal_bleu": "another one", "exact_match": "another one"}
    (evaluation(tmp_path / "b") / "scores.json").write_text(json.dumps(written[1]))
    assert compared()["metrics_left_out"] == {"crystal_bleu": "not scored alike"}
    assert compared()["scores"] == {
        label: without(scores, "crystal_bleu") for label, scores in result["scores"].items()
    }


def test_a_lower_score_may_be_better(tmp_path: Path):
    pairs = [pair(str(n), "t", "open json.load len", language="apis") for n in range(8)]
    write_run(tmp_path / "a", pairs, ["print"] * 8, metrics=("frank",))
    write_run(tmp_path / "b", pairs, ["open json.load len"] * 8, metrics=("frank",))
    compared = compare_runs(open_evaluations([str(tmp_path / "a"), str(tmp_path / "b")]), resamples=100, seed=0)
    found = compared.result["against_baseline"]["b"]["metrics"]["frank"]
    assert found["difference"] < 0
    assert (found["wins"], found["losses"]) == (8, 0)
    assert found["verdict"] == "better"
    assert np.all(compared.gains(compared.metrics[0], "b") > 0)


def test_labels_are_as_short_as_they_can_be(runs: list[Path], tmp_path: Path):
    def labels(*paths: Path) -> list[str]:
        return [each.label for each in open_evaluations([str(path) for path in paths])]

    other = tmp_path / "again" / "half"
    shutil.copytree(runs[1], other)
    assert labels(*runs) == ["none", "half", "all"]
    assert labels(runs[1], other) == [f"{runs[1].parent.name}/half", "again/half"]
    write_run(other, PAIRS, CODES, name="12-test-all-beam4")
    both = [other / "evaluations" / name for name in ("12-test-all-greedy", "12-test-all-beam4")]
    assert labels(*both) == ["greedy", "beam4"]
    assert labels(*both, runs[0]) == ["half:greedy", "half:beam4", "none"]


def test_runs_on_an_object_store(runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = fsspec.filesystem("memory")
    store.store.clear()
    monkeypatch.setenv("T2C_CACHE_DIR", str(tmp_path / "cache"))
    for run in runs[:2]:
        store.put(f"{run}/", f"/bucket/{run.name}/", recursive=True)
    names = ["memory://bucket/none", "memory://bucket/half/evaluations/12-test-all-greedy"]
    result = compare_runs(open_evaluations(names), resamples=100, seed=0).result
    assert [*result["scores"]] == ["none", "half"]
    assert result["scores"]["half"]["exact_match"]["value"] == 50
    store.store.clear()


def test_a_workdir_with_several_evaluations(runs: list[Path], tmp_path: Path):
    several = tmp_path / "half"
    shutil.copytree(runs[1], several)
    write_run(several, PAIRS, CODES, name="12-dev-all-greedy", split="dev")
    with pytest.raises(UserError, match=r"has 2 evaluations; name one, as in .*/evaluations/12-dev-all-greedy: 12-dev"):
        open_evaluations([str(several)])
    (found,) = open_evaluations([str(several)], split="dev")
    assert found.split == "dev"
    (relative,) = open_evaluations([f"{several}/evaluations/12-test-all-greedy/"])
    assert (relative.split, relative.directory) == ("test", several)


def evaluation(workdir: Path) -> Path:
    return workdir / "evaluations" / "12-test-all-greedy"


def without(values: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != key}


def rewrite(workdir: Path, change: Callable[[int, str], str]) -> None:
    path = evaluation(workdir) / "predictions.jsonl"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("".join(f"{change(number, line)}\n" for number, line in enumerate(lines, 1)))


def third(text: str) -> Callable[[int, str], str]:
    return lambda number, line: text if number == 3 else line


def changed_line(line: str, **values: Any) -> str:
    return json.dumps(json.loads(line) | values)


def statistics_of_third(row: Any) -> Callable[[int, str], str]:
    return lambda number, line: changed_line(line, statistics={"exact_match": row}) if number == 3 else line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: rewrite(run, third("{not json")), "predictions.jsonl' line 3 is malformed"),
        (lambda run: rewrite(run, third("[1]")), "line 3 is malformed"),
        (
            lambda run: rewrite(run, lambda n, line: json.dumps(without(json.loads(line), "prediction"))),
            "line 1 is malformed ('prediction' is missing)",
        ),
        (lambda run: rewrite(run, lambda n, line: changed_line(line, candidates="no list")), "'candidates' is no list"),
        (lambda run: rewrite(run, lambda n, line: changed_line(line, language=3)), "(a text is no string)"),
        *(
            (lambda run, row=row: rewrite(run, statistics_of_third(row)), "line 3 is malformed (")
            for row in (["a", 1], [1], 3, [math.inf, 1])
        ),
        (lambda run: rewrite(run, third("[" * 100_000)), "line 3 is malformed"),
        (lambda run: (evaluation(run) / "scores.json").write_text("[" * 100_000), "scores.json' cannot be read"),
        (
            lambda run: (evaluation(run) / "scores.json").write_text('{"split": "test", "signatures": ["chrf"]}'),
            "holds no scores of t2c evaluate",
        ),
        (lambda run: rewrite(run, lambda n, line: line.replace(': "1"', ': "0"', 1)), "a second pair of id '0'"),
        (lambda run: (evaluation(run) / "predictions.jsonl").unlink(), "predictions.jsonl' cannot be read (No such"),
        (lambda run: (evaluation(run) / "predictions.jsonl").write_text("\n"), "predictions.jsonl' is empty"),
        (lambda run: (evaluation(run) / "scores.json").write_text("{"), "scores.json' cannot be read"),
        (lambda run: (evaluation(run) / "scores.json").write_text("{}"), "holds no scores of t2c evaluate"),
        (lambda run: shutil.rmtree(run / "evaluations"), "has no finished evaluation; run t2c evaluate --workdir"),
        (lambda run: shutil.rmtree(run), "does not exist, or has no finished evaluation"),
        (
            lambda run: rewrite(run, lambda n, line: line.replace("add", "sum", 1)),
            "24 of 24 pairs have another text or reference in 'changed' than in 'none', the first is 0",
        ),
        (
            lambda run: rewrite(run, lambda n, line: line.replace('"id": "', '"id": "x', 1)),
            "have no pair in common",
        ),
    ],
)
def test_mistakes(change: Callable[[Path], None], message: str, runs: list[Path], tmp_path: Path):
    changed = tmp_path / "changed"
    shutil.copytree(runs[1], changed)
    change(changed)
    with pytest.raises(UserError) as raised:
        compare_runs(open_evaluations([str(runs[0]), str(changed)]), resamples=100, seed=0)
    assert message in str(raised.value)


def test_what_cannot_be_compared(runs: list[Path], tmp_path: Path):
    def compared(*paths: Path) -> None:
        compare_runs(open_evaluations([str(path) for path in paths]), resamples=100, seed=0)

    with pytest.raises(UserError, match="one run cannot be compared; name two or more"):
        compared(runs[0])
    with pytest.raises(UserError, match="is named twice"):
        compared(runs[0], runs[0])
    write_run(tmp_path / "dev", PAIRS, CODES, split="dev")
    with pytest.raises(UserError, match="'dev' was scored on dev and 'none' on test"):
        compared(runs[0], tmp_path / "dev")
    write_run(tmp_path / "other", PAIRS, CODES, metrics=("python_match",))
    with pytest.raises(UserError, match=r"no metric to compare these by \(not in all runs: exact_match, "):
        compared(runs[0], tmp_path / "other")
    for name in ("c", "d"):
        write_run(tmp_path / name, [pair("0", "t", "ls", language="no such")], ["ls"], metrics=("parses",))
    with pytest.raises(UserError, match=r"no metric to compare these by \(applicable to no pair: parses\)"):
        compared(tmp_path / "c", tmp_path / "d")


def test_numbers():
    assert show_number(12.34, 0.56) == "12.3 ± 0.6"
    assert show_number(-0.01, signed=True) == show_number(0.0, signed=True) == "0.0"
    assert show_number(1.25, 0.1, signed=True) == "+1.2 ± 0.1"
    assert show_number(None, 1.0) == "-"
    assert [show_p(value) for value in (None, 0.0004, 0.05, 1.0)] == ["-", "< 0.001", "0.050", "1.000"]
