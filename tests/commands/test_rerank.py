"""``t2c rerank``, and answers, scores and the library with what it fits.

The run reads a neighbour and also learns to write texts.
"""

import dataclasses
import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_run import _prepared, main, prepared  # noqa: F401

import t2c_jax
from t2c_jax.checkpoints.saved_run import SavedRun
from t2c_jax.config import DataConfig, RetrieveConfig, TaskConfig
from t2c_jax.corpus.pairs import Pair
from t2c_jax.decode.rerank.reviewer import reverse_data
from t2c_jax.evaluate import rerank_stage
from t2c_jax.evaluate.calibration import calibration
from t2c_jax.evaluate.metrics.metric import metrics_named

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
BOTH_WAYS = """
    config.data.tasks = {
        "write": {"objective": "text_to_code"},
        "describe": {"objective": "code_to_text", "prefix": "Describe: "},
    }
    config.data.retrieve.neighbours = 1
    config.data.retrieve.tokens = 64
    config.data.encoder_length = 112
    config.evaluate.metrics = ("chrf",)
    return config
"""
NAME = "12-beam2-penalty1-tokens16"
PAIR = [field.name for field in dataclasses.fields(Pair)]
PROMPTS = ["Return the first list.", "Return the last word, whatever it is."]
RERANK = ("rerank", "--step", "12", "--config.rerank.grammar=python")


@functools.cache
def _fitted(base: Path) -> Path:
    config, workdir = _prepared(base)
    run = Path(shutil.copytree(workdir, base / "both_ways"))
    changed = base / "both_ways.py"
    changed.write_text(config.read_text().replace("    return config\n", BOTH_WAYS))
    for command in ("prepare", "train"):
        assert main(command, "--config", changed, "--workdir", run) == 0
    assert main(*RERANK, "--workdir", run) == 0
    return run


@pytest.fixture
def fitted(tmp_path_factory, tmp_path):
    """A workdir of one's own with a reranker."""
    return Path(shutil.copytree(_fitted(tmp_path_factory.getbasetemp()), tmp_path / "fitted"))


def answers(capsys, *arguments):
    capsys.readouterr()
    assert main("generate", "--step", "12", "--json", *arguments, *PROMPTS) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments):
    capsys.readouterr()
    assert main(*arguments) == 2
    found = capsys.readouterr()
    (line,) = found.err.strip().splitlines()
    assert not found.out
    return line


def test_what_is_kept(fitted):
    stored = json.loads((fitted / "rerank" / NAME / "reranker.json").read_text())
    names = ["log_probability", "length", "parses", "reviewer", "consensus", "neighbours", "retrieved"]
    assert [*stored["weights"]["features"]] == names
    assert stored["identity"]["search"] == "beam2-penalty1-tokens16"
    assert (stored["metric"], stored["confidence"], stored["reviewer"]) == (
        "chrf",
        "chrf",
        {"run": "", "checkpoint": ""},
    )
    scores = json.loads((fitted / "rerank" / NAME / "scores.json").read_text())
    assert [*scores["systems"]] == ["first candidate", "reranked", *stored["weights"]["features"], "oracle"]
    values = {name: system["value"] for name, system in scores["systems"].items()}
    assert values["oracle"] == max(values.values())
    assert values["reranked"] > values["first candidate"], "it has learnt little, and the neighbour's code is better"
    assert (scores["examples"], scores["candidates"], scores["name"]) == (12, 3, NAME)
    assert 0 <= scores["confidence"]["expected_calibration_error"] <= 1


def test_the_same_command_finds_it_and_another_metric_replaces_it(fitted, capsys):
    path = fitted / "rerank" / NAME / "reranker.json"
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert main(*RERANK, "--workdir", fitted) == 0
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert "reranked, cross-validated" in capsys.readouterr().err
    assert main(*RERANK, "--workdir", fitted, "--config.rerank.metric=bleu") == 0
    assert json.loads(path.read_text())["metric"] == "bleu"


def test_answers_are_the_candidates_in_another_order(fitted, capsys):
    plain = answers(capsys, "--workdir", fitted)
    assert all("confidence" not in row for row in plain)
    # The reranker turned around: what it put first comes last.
    path = fitted / "rerank" / NAME / "reranker.json"
    stored = json.loads(path.read_text())
    reranked = answers(capsys, "--workdir", fitted, "--config.decode.rerank=True")
    for feature in stored["weights"]["features"].values():
        feature["rank"] *= -1
    path.write_text(json.dumps(stored))
    turned = answers(capsys, "--workdir", fitted, "--config.decode.rerank=True")
    for row, first, last in zip(plain, reranked, turned, strict=True):
        (neighbour,) = row["neighbours"]
        codes = [*(each["code"] for each in row["hypotheses"]), neighbour["code"]]
        assert len(set(codes)) == 3
        orders = [[each["code"] for each in found["hypotheses"]] for found in (first, last)]
        assert orders[0] == orders[1][::-1]
        for found, order in zip((first, last), orders, strict=True):
            assert found["code"] == order[0]
            assert sorted(order) == sorted(codes)
            assert [each["code"] for each in found["hypotheses"] if "retrieved" in each] == [neighbour["code"]]
            assert 0 < found["confidence"] < 1


def test_an_answer_without_confidence_is_none(fitted, capsys):
    rows = answers(capsys, "--workdir", fitted, "--config.decode.rerank=True")
    least = max(row["confidence"] for row in rows)
    assert least > min(row["confidence"] for row in rows)
    asked = answers(capsys, "--workdir", fitted, f"--min-confidence={least}")
    for row, found in zip(rows, asked, strict=True):
        assert found["answered"] == (row["confidence"] == least)
        assert found["code"] == (row["code"] if found["answered"] else None)
        assert found["hypotheses"] == row["hypotheses"], "the candidates are there all the same"
    assert main("generate", "--step", "12", "--workdir", fitted, "--min-confidence=1", PROMPTS[0]) == 0
    assert capsys.readouterr().out == "I don't know\n"
    assert "is a probability" in refused(capsys, "generate", "--workdir", fitted, "--min-confidence=1.5", "x")


def test_the_library_answers_as_the_command_does(fitted, capsys):
    rows = answers(capsys, "--workdir", fitted, "--config.decode.rerank=True")
    run = t2c_jax.open_run(fitted, 12)
    found = run.generate(PROMPTS, rerank=True)
    assert [(answer.best, answer.confidence) for answer in found] == [(row["code"], row["confidence"]) for row in rows]
    assert [answer.confidence for answer in run.generate(PROMPTS)] == [None, None]
    assert found == run.generate(PROMPTS, rerank=True, batch_size=2), "no answer depends on the size of a batch"


def test_an_evaluation_is_of_the_reranked_answers_and_names_the_reranker(fitted, capsys):
    def scores(*arguments):
        capsys.readouterr()
        assert main("evaluate", "--step", "12", "--workdir", fitted, "--json", *arguments) == 0
        return json.loads(capsys.readouterr().out)

    plain = scores()
    reranked = scores("--config.decode.rerank=True")
    assert reranked["name"].startswith(f"12-test-all-{plain['search']}-rerank-")
    assert "the reranker puts first" in reranked["answers"]
    lines = (fitted / "evaluations" / reranked["name"] / "predictions.jsonl").read_text().splitlines()
    examples = [json.loads(line) for line in lines]
    expected = t2c_jax.open_run(fitted, 12).generate([each["text"] for each in examples], rerank=True)
    assert [each["prediction"] for each in examples] == [answer.best for answer in expected]
    assert [each["confidence"] for each in examples] == [round(answer.confidence, 4) for answer in expected]
    (chrf,) = metrics_named(("chrf",))
    pairs = [Pair.from_dict({name: each[name] for name in PAIR}) for each in examples]
    rows = chrf.statistics(pairs, [[each["prediction"]] for each in examples])
    right = [chrf.score(row) for row in rows.tolist()]
    expected = calibration([answer.confidence for answer in expected], [value / 100 for value in right])
    assert reranked["confidence"] == {"of": "chrf", **expected}
    assert "confidence" not in plain
    for report in ("evaluations/" + reranked["name"], f"rerank/{NAME}"):
        assert "Risk by coverage" in (fitted / report / "report.html").read_text()
    # Fitted for another metric, it is another reranker, so the scores have a name of their own.
    assert main(*RERANK, "--workdir", fitted, "--config.rerank.metric=bleu") == 0
    assert scores("--config.decode.rerank=True")["name"] != reranked["name"]


def test_another_run_reviews(fitted, capsys, tmp_path):
    other = shutil.copytree(fitted, tmp_path / "other")
    asked = (*RERANK, "--workdir", fitted, f"--config.rerank.reviewer={other}@12")
    assert main(*asked) == 0
    stored = json.loads((fitted / "rerank" / NAME / "reranker.json").read_text())
    assert stored["reviewer"]["run"] == f"{other}@12"
    own = t2c_jax.open_run(fitted, 12).generate(PROMPTS, rerank=True)
    assert all(answer.confidence for answer in own)
    shutil.rmtree(other / "checkpoints" / "12")
    (other / "checkpoints" / "9").rename(other / "checkpoints" / "12")
    line = refused(capsys, "generate", "--step", "12", "--workdir", fitted, "--config.decode.rerank=True", "x")
    assert f"another checkpoint of its reviewer '{other}@12'" in line
    shutil.rmtree(other)
    assert f"config.rerank.reviewer='{other}@12': '{other}' holds no run" in refused(capsys, *asked)


def test_a_run_that_only_writes_code_reviews_nothing(prepared, fitted, capsys):  # noqa: F811
    line = refused(capsys, *RERANK, "--workdir", fitted, f"--config.rerank.reviewer={prepared[1]}")
    assert "it has no task code_to_text" in line


def test_the_reverse_task_reads_as_it_was_trained():
    tasks = {
        "elsewhere": TaskConfig("code_to_text", prefix="no", workdir="other"),
        "describe": TaskConfig("code_to_text", prefix="Describe: "),
    }
    data = DataConfig(prefix="Write: ", tasks=tasks, retrieve=RetrieveConfig(neighbours=1))
    found = reverse_data(data)
    assert (found.direction, found.prefix, found.retrieve.neighbours) == ("code_to_text", "Describe: ", 0)
    assert reverse_data(replace(data, direction="code_to_text")) is None
    assert reverse_data(DataConfig()) is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("rerank", "--config.decode.beam_size=1"), "this search finds one: set config.decode.beam_size above 1"),
        (("rerank", "--config.rerank.metric=blue"), "did you mean 'bleu'?"),
        (("rerank", "--config.rerank.grammar=bach"), "did you mean 'bash'?"),
        (
            ("generate", "--config.decode.beam_size=1", "--min-confidence=0.5", "x"),
            "config.decode.rerank chooses among candidates, and this search finds one",
        ),
        (
            ("generate", "--step", "9", "--min-confidence=0.5", "x"),
            f"has no reranker, and so no confidence, for 9-beam2-penalty1-tokens16; it has one for {NAME}; run t2c",
        ),
        (
            ("evaluate", "--step", "12", "--config.decode.rerank=True", "--config.decode.beam_size=3"),
            "for 12-beam3-penalty1-tokens16; it has one for",
        ),
        (
            ("generate", "--step", "12", "--config.decode.rerank=True", "--config.data.reverse_source=True", "x"),
            "was fitted on another prompt format than this run's; run t2c rerank again",
        ),
    ],
)
def test_mistakes_are_refused_and_nothing_is_lost(fitted, capsys, arguments, reason):
    before = {path: path.read_bytes() for path in (fitted / "rerank").rglob("*") if path.is_file()}
    command, *rest = arguments
    assert reason in refused(capsys, command, "--workdir", fitted, *rest)
    assert {path: path.read_bytes() for path in (fitted / "rerank").rglob("*") if path.is_file()} == before


def test_a_reranker_of_another_checkpoint_is_refused(fitted, capsys):
    (fitted / "rerank" / NAME).rename(fitted / "rerank" / NAME.replace("12-", "9-"))
    line = refused(capsys, "generate", "--step", "9", "--workdir", fitted, "--config.decode.rerank=True", "x")
    assert "was fitted on another checkpoint than this run's; run t2c rerank again" in line


def test_a_damaged_reranker_is_refused(fitted, capsys):
    path = fitted / "rerank" / NAME / "reranker.json"
    for content in ("{", "[]", json.dumps({**json.loads(path.read_text()), "weights": {"features": {"length": {}}}})):
        path.write_text(content)
        line = refused(capsys, "generate", "--step", "12", "--workdir", fitted, "--config.decode.rerank=True", "x")
        assert "is damaged; delete" in line


def test_no_dev_pairs(fitted, capsys, monkeypatch):
    monkeypatch.setattr(rerank_stage, "prompt_pairs", lambda *_: iter(()))
    assert "the dev split is empty" in refused(capsys, *RERANK, "--workdir", fitted)
    few = [pair for pair, _ in zip(_pairs(fitted), range(4), strict=False)]
    monkeypatch.setattr(rerank_stage, "prompt_pairs", lambda *_: iter(few))
    assert "4 groups of dev pairs are too few for cross-validation with 5 folds" in refused(
        capsys, *RERANK, "--workdir", fitted
    )


def _pairs(run):
    from t2c_jax.evaluate.prompt_pairs import prompt_pairs

    return prompt_pairs(SavedRun.open(str(run)).workdir, "dev", "text_to_code")
