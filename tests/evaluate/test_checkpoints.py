"""Evaluations of checkpoints: what they are called, and that none replaces another."""

import dataclasses
import json
import subprocess

import pytest
from small_run import main, trained  # noqa: F401

from t2c_jax.config import DecodeConfig, EvaluateConfig
from t2c_jax.evaluate.checkpoints import evaluation_name, evaluations_of, search_name
from t2c_jax.evaluate.prompt_pairs import example_prompt, shell_word
from t2c_jax.workdir import Workdir


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
    ],
)
def test_the_name_of_an_evaluation(members, average, config, decode, name):
    assert evaluation_name(members, average, EvaluateConfig(**config), DecodeConfig(**decode)) == name


def test_each_setting_of_the_search_is_in_the_name():
    """But for the batch size and prompt lookup, on which no answer depends."""
    base = search_name(DecodeConfig())
    other = {"beam_size": 7, "length_penalty": 0.3, "idf_weight": 0.1, "max_tokens": 9, "no_repeat_ngram_size": 2}
    other |= {"special_pieces": True, "grammar": "json", "samples": 3, "temperature": 0.7, "seed": 2, "patience": 1}
    other |= {"top_k": 5, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.2}
    other |= {"beam_groups": 2, "diversity_penalty": 0.2, "stop": ("x",)}
    assert {field.name for field in dataclasses.fields(DecodeConfig)} == {*other, "batch_size", "prompt_lookup"}
    for name, value in other.items():
        assert search_name(DecodeConfig(**{name: value})) != base


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
