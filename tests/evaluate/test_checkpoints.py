"""Evaluations of checkpoints: what they are called, and that none replaces another."""

import dataclasses
import json
import re
import subprocess

import pytest
from small_run import main, trained  # noqa: F401

from t2c_jax.config import DecodeConfig, EvaluateConfig
from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.decode.search_names import search_name
from t2c_jax.evaluate import checkpoints
from t2c_jax.evaluate.checkpoints import evaluation_name, evaluations_of, which_answer
from t2c_jax.evaluate.prompt_pairs import example_prompt, shell_word
from t2c_jax.workdir import Workdir

NOTHING_RUN = {"problems": 3, "scored": 0, "left_out": {}, "reason": "the server is gone", "answers": {}}


@pytest.mark.parametrize(
    ("members", "average", "config", "decode", "name"),
    [
        (["300"], 1, {}, {}, "300-test-all-beam4-penalty1-tokens256"),
        (["300"], 1, {"split": "dev", "max_examples": 64}, {"beam_size": 1}, "300-dev-64-greedy-penalty1-tokens256"),
        (["300"], 3, {}, {"max_tokens": 64}, "300-average3-test-all-beam4-penalty1-tokens64"),
        (
            ["9"],
            1,
            {},
            {"length_penalty": 0.6, "idf_weight": 0.25, "no_repeat_ngram_size": 4, "special_pieces": True},
            "9-test-all-beam4-penalty0.6-tokens256-idf0.25-ngram4-specials",
        ),
        (
            ["9"],
            1,
            {},
            {"beam_size": 1, "temperature": 0.8, "samples": 5, "top_p": 0.95, "seed": 1234567},
            "9-test-all-samples5-temperature0.8-penalty1-tokens256-topp0.95-seed1234567",
        ),
    ],
)
def test_the_name_of_an_evaluation(members, average, config, decode, name):
    assert evaluation_name(members, average, EvaluateConfig(**config), DecodeConfig(**decode)) == name


# Two values of each setting, with what they need of others.
BEAMS, DRAWING = {"beam_size": 4}, {"beam_size": 1, "temperature": 0.8}
SETTINGS = {
    "beam_size": ({}, 1, 7),
    "beam_groups": (BEAMS, 2, 4),
    "diversity_penalty": ({**BEAMS, "beam_groups": 2}, 0.2, 0.25),
    "length_penalty": (BEAMS, 0.3, 1.0),
    "patience": (BEAMS, 1.0, 1.25),
    "samples": (DRAWING, 1, 3),
    "temperature": ({"beam_size": 1}, 0.7, 0.70000001),
    "top_k": (DRAWING, 5, 1234567),
    "top_p": (DRAWING, 0.9, 0.95),
    "min_p": (DRAWING, 0.1, 0.05),
    "repetition_penalty": ({}, 1.2, 1.3),
    "stop": ({}, ("x",), ("y", "x")),
    "seed": (DRAWING, 1234567, 1234568),
    "idf_weight": ({}, 0.1, 0.2),
    "no_repeat_ngram_size": ({}, 2, 3),
    "special_pieces": ({}, False, True),
    "grammar": ({}, "json", "regex:[a-z]+"),
    "max_tokens": ({}, 9, 10),
    "rerank": (BEAMS, True, True),
}
NO_ANSWER_DEPENDS_ON = {"prompt_lookup": ({"beam_size": 1}, 2, 4), "batch_size": ({}, 2, 4)}
EVERY_SETTING = {**SETTINGS, **NO_ANSWER_DEPENDS_ON}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(DecodeConfig)])
def test_each_setting_of_the_search_is_in_the_name(name):
    """Whichever value it has, and every setting but those on which no answer depends."""
    others, *values = EVERY_SETTING[name]
    searches = [DecodeConfig(**others)] + [DecodeConfig(**others, **{name: value}) for value in values]
    for search in searches:
        search.check("config.decode")
    names = {search_name(search) for search in searches}
    if name in NO_ANSWER_DEPENDS_ON:
        assert len(names) == 1
    else:
        assert len(names) == len(set(searches)) > 1
        assert all(re.fullmatch(r"[a-z0-9._-]+", each) for each in names), "a directory has this name"


@pytest.mark.parametrize(
    ("decode", "words"),
    [
        ({"beam_size": 1}, "that of greedy search"),
        ({"beam_size": 4}, "the best hypothesis of beam search with 4 beams, by score, finished ones before others"),
        ({**DRAWING, "seed": 3}, "one sample drawn at temperature 0.8 with seed 3"),
        (
            {**DRAWING, "samples": 5},
            "the best of 5 samples drawn at temperature 0.8 with seed 0, by score, finished ones before others",
        ),
        (
            {**BEAMS, "rerank": True},
            "the candidate of a beam of 4 that the reranker puts first, finished ones before others",
        ),
        (
            {**DRAWING, "samples": 5, "rerank": True},
            "the candidate of 5 samples that the reranker puts first, finished ones before others",
        ),
    ],
)
def test_an_evaluation_says_which_answer_is_scored(decode, words):
    assert which_answer(DecodeConfig(**decode)) == words


def test_of_several_samples_the_best_one_is_scored(trained, capsys):  # noqa: F811
    """Scores, predictions and the report are of the answers that ``t2c generate`` prints first."""
    drawing = ["--samples", "3", "--temperature", "0.9"]
    benchmark = trained / "bench.jsonl"
    benchmark.write_text(json.dumps({"code": next(read_pairs(Workdir(trained), "train")).code}) + "\n")
    settings = ["--config.evaluate.max_examples=5", f"--config.evaluate.problems={benchmark}"]
    assert main("evaluate", "--workdir", trained, "--json", *settings, *drawing) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["name"] == "12-test-5-samples3-temperature0.9-penalty1-tokens16"
    assert scores["answers"] == which_answer(DecodeConfig(beam_size=1, samples=3, temperature=0.9))
    directory = trained / "evaluations" / scores["name"]
    assert scores["leakage"]["problems"][str(benchmark)]["near_duplicates"] == 1
    assert f"Scored answers: {scores['answers']}." in (directory / "report.html").read_text()
    lines = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 5
    prompts = trained / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"text": line["text"]}) + "\n" for line in lines))
    assert main("generate", "--workdir", trained, "--input", prompts, "--json", *drawing) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["hypotheses"][0]["code"] for answer in answers] == [line["prediction"] for line in lines]
    assert any(len({each["code"] for each in answer["hypotheses"]}) == 3 for answer in answers)


@pytest.mark.parametrize(("content", "message"), [("", "is empty"), ('{"text": "a"}\n', ":1: no 'code'")])
def test_problems_are_read_before_anything_is_decoded(trained, tmp_path, capsys, content, message):  # noqa: F811
    benchmark = tmp_path / "bench.jsonl"
    benchmark.write_text(content)
    assert main("evaluate", "--workdir", trained, f"--config.evaluate.problems={benchmark}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("t2c: config.evaluate.problems: ")
    assert message in line


def test_nothing_is_replaced(trained, capsys):  # noqa: F811
    """Each split, size and search has scores of its own; other scores of the same name get a number."""

    def scores(*options):
        capsys.readouterr()
        assert main("evaluate", "--workdir", trained, "--step", "12", "--json", *options) == 0
        return json.loads(capsys.readouterr().out)

    test = scores()
    dev = scores("--config.evaluate.split=dev")
    few = scores("--config.evaluate.max_examples=5")
    greedy = scores("--config.decode.beam_size=1")
    names = [found["name"] for found in (test, dev, few, greedy)]
    search = "beam2-penalty1-tokens16"
    assert names == [f"12-test-all-{search}", f"12-dev-all-{search}", f"12-test-5-{search}", names[3]]
    assert names[3] == "12-test-all-greedy-penalty1-tokens16"
    assert [(found["split"], found["size"], found["search"]) for found in (dev, few)] == [
        ("dev", "all", search),
        ("test", 5, search),
    ]
    assert (dev["examples"], few["examples"]) == (12, 5)

    metrics = "--config.evaluate.metrics=bleu"
    other = scores(metrics)
    assert other["name"] == f"12-test-all-{search}.2"
    assert [*other["model"]] == ["bleu"]
    assert scores(metrics) == other, "the second call finds it"
    assert scores() == test, "the first one is as it was"
    evaluations = trained / "evaluations"
    assert {path.name for path in evaluations.iterdir()} == {*names, other["name"]}
    for found in (test, dev, few, greedy, other):
        assert json.loads((evaluations / found["name"] / "scores.json").read_text()) == found

    listed = evaluations_of(Workdir(trained), 12)
    assert sorted(found["name"] for found in listed) == sorted([*names, other["name"]])
    assert listed[-1]["split"] == "dev"
    assert evaluations_of(Workdir(trained), 9) == evaluations_of(Workdir(trained), 12, average=2) == []


def test_scores_without_all_problems_are_replaced(trained, capsys, monkeypatch):  # noqa: F811
    """Where the sandbox failed, the same command evaluates again, once."""
    score, answers = checkpoints.evaluate_predictions, []

    def evaluated(failed):
        def predictions(*arguments, **options):
            answers.append(failed)
            found = score(*arguments, **options)
            found.scores["execution"] = {**NOTHING_RUN, "not_run": failed}
            return found

        monkeypatch.setattr(checkpoints, "evaluate_predictions", predictions)
        options = ("--config.evaluate.max_examples=3", "--config.evaluate.metrics=chrf")
        assert main("evaluate", "--workdir", trained, "--step", "12", "--json", *options) == 0
        return json.loads(capsys.readouterr().out)

    capsys.readouterr()
    first, second, third = evaluated(2), evaluated(0), evaluated(1)
    assert answers == [2, 0]
    assert first["name"] == second["name"] == "12-test-3-beam2-penalty1-tokens16"
    assert first["not_run"] == first["execution"]["not_run"] == 2
    assert "not_run" not in second
    assert third == second


def test_a_prompt_to_try_is_one_of_the_dev_pairs(trained):  # noqa: F811
    prompt = example_prompt(Workdir(trained), "text_to_code")
    assert prompt == "Return the last number of 8 values, skipping those that are None."
    assert example_prompt(Workdir(trained), "code_to_text").startswith("def ")


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "two words",
        "it's",
        'a "quote"\tand\ttabs',
        "def f(x):\n    return '\\n'  # $HOME `ls`\r\n",
        "\x1b[1m é 日",
    ],
)
def test_a_shell_reads_the_word_as_the_text(text):
    word = shell_word(text)
    assert word.isprintable()
    said = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True)
    assert said.stdout.decode() == text


def test_a_word_like_an_option_is_none():
    assert shell_word("-x y") == "-- '-x y'"
