"""A whole run from code to text, through the verbs, as a user would; and its config."""

import json

import numpy as np
import pytest
from small_run import CONFIG, main, write_corpus

from t2c_jax import config as configs
from t2c_jax.errors import UserError

PATHS = """
    config.data.direction = "code_to_text"
    config.data.pack = False
    config.model.encoder = schema.architecture("encoder", "paths", sampled=20, stored=40, width=8)
    config.train.samples = 1
    return config
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workdir where everything was run, on a corpus whose first test line is no Python."""
    base = tmp_path_factory.mktemp("code2seq")
    corpus = base / "corpus.jsonl"
    write_corpus(corpus, 60)
    lines = [json.loads(line) for line in corpus.read_text().splitlines()]
    lines[9]["code"] = "this is no Python, and has no paths"
    corpus.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = base / "config.py"
    config.write_text(CONFIG.format(corpus=str(corpus)).replace("    return config\n", PATHS))
    assert main("run", "--config", config, "--workdir", base / "w") == 0
    return base / "w"


def test_what_is_scored_is_text(run):
    (evaluation,) = (run / "evaluations").iterdir()
    examples = [json.loads(line) for line in (evaluation / "predictions.jsonl").read_text().splitlines()]
    assert len(examples) == 6
    for example in examples:
        assert example["text"].startswith(("def ", "this is no Python"))
        assert example["code"].startswith("Return the")
        assert example["retrieved"].startswith("Return the")
        assert example["language"] == "text"
    scores = json.loads((evaluation / "scores.json").read_text())
    assert scores["examples"] == 6
    assert np.isfinite(scores["model"]["bleu"]["value"])


def test_the_stage_counts_dropped_paths(run):
    splits = json.loads((run / "tokens" / "manifest.json").read_text())["counts"]["splits"]
    assert splits["test"]["without_paths"] == splits["test"]["unparsable"] == 1
    assert splits["train"]["without_paths"] == 0
    assert splits["train"]["paths"] > splits["train"]["pairs"]


def test_code_is_answered_from_the_command_line(run, tmp_path, capsys):
    """The prompt is the ``code`` and the answer the ``text``, in what is read and in what is printed."""
    code = "def f(a):\n    return a.b\n"
    assert main("generate", "--workdir", run, "--json", code) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert set(answer) == {"code", "text", "score", "log_probability", "finished", "hypotheses", "provenance"}
    assert answer["code"] == code
    assert isinstance(answer["text"], str)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"code": code, "text": "what it was trained on"}) + "\n")
    assert main("generate", "--workdir", run, "--input", prompts) == 0
    del answer["hypotheses"]  # which --json alone shows
    assert json.loads(capsys.readouterr().out) == answer
    assert main("generate", "--workdir", run, code) == 0
    assert capsys.readouterr().out == answer["text"] + "\n"


@pytest.mark.parametrize("argument", ["", ":names", ":docstrings"])
def test_the_config_holds_together(repository, argument):
    experiment = configs.load(f"{repository}/configs/code2seq.py{argument}", [])
    configs.check(experiment)
    assert experiment.model.encoder.type == "paths"
    assert experiment.corpus.text == ("summary" if argument == ":docstrings" else "name")


def test_a_wrong_argument_is_reported(repository):
    with pytest.raises(UserError, match="write names or docstrings"):
        configs.load(f"{repository}/configs/code2seq.py:nmaes", [])
