"""Stored runs: a field that is newer than a run changes nothing of it; a changed config is said and the former kept."""

import dataclasses
import json

import pytest
from small_run import main, records, trained  # noqa: F401

from t2c_jax import config as configs
from t2c_jax.checkpoints import inherit
from t2c_jax.config import CorpusConfig, Section, field
from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@dataclasses.dataclass(frozen=True)
class Inner(Section):
    """A section in a section."""

    old: int = field(1, "There from the start.")
    filtered: bool = field(True, "New, and on by default.", before=False)
    kernel: str = field("auto", "How it is computed.", execution=True)


@dataclasses.dataclass(frozen=True)
class Outer(Section):
    """A section."""

    size: int = field(3, "New, and without an effect by default.")
    inner: Inner = field(default_factory=Inner)  # noqa: RUF009


def test_a_stored_section_gets_the_values_of_the_older_code():
    assert configs.filled(Outer, {"inner": {"old": 7}}) == {
        "size": 3,
        "inner": {"old": 7, "filtered": False, "kernel": "auto"},
    }
    assert configs.filled(Outer(), {}, execution=False) == {"size": 3, "inner": {"old": 1, "filtered": False}}
    assert configs.filled(Outer, {"inner": {"filtered": True}, "gone": 1})["inner"]["filtered"]
    everything = configs.to_dict(configs.Experiment())
    assert configs.filled(configs.Experiment, everything) == everything
    assert configs.filled(configs.ModelConfig, {"encoder": {"type": "lstm", "layers": 3}})["encoder"]["layers"] == 3


def test_a_stored_section_keeps_the_value_of_a_renamed_field():
    assert configs.filled(configs.TrainConfig, {"most_anomalies": 3})["max_skips"] == 3
    assert "most_anomalies" not in configs.filled(configs.TrainConfig, {"most_anomalies": 3})
    everything = configs.to_dict(configs.Experiment())
    everything["train"]["most_anomalies"] = everything["train"].pop("max_skips") + 1
    assert configs.from_stored(everything, "config.json").train.max_skips == configs.TrainConfig().max_skips + 1


def rewrite(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def make_older(path):
    """Takes a field out of every section that a stored run keeps, as if it had been made before the field existed."""
    workdir = Workdir(path)

    def config(values):
        del values["corpus"]["deduplicate"], values["tokenizer"]["split_spaces"], values["data"]["reverse_source"]
        del values["model"]["scale_tied_output"], values["model"]["encoder"]["norm_epsilon"], values["origin"]

    def metadata(values):
        del values["model"]["scale_tied_output"], values["model"]["encoder"]["norm_epsilon"]

    rewrite(path / "config.json", config)
    for step in (path / "checkpoints").iterdir():
        rewrite(step / "run" / "metadata", metadata)
    rewrite(path / "corpus" / "manifest.json", lambda values: values["config"].pop("deduplicate"))

    def tokenizer(values):
        del values["config"]["tokenizer"]["split_spaces"]
        values["inputs"]["corpus"] = workdir.digest("corpus")

    rewrite(path / "tokenizer" / "manifest.json", tokenizer)
    rewrite(path / "tokens" / "manifest.json", lambda values: values["inputs"].update(corpus=workdir.digest("corpus")))


def test_a_run_that_lacks_new_fields_resumes_evaluates_and_keeps_its_stages(trained, capsys):  # noqa: F811
    make_older(trained)
    manifests = [(trained / stage / "manifest.json").read_bytes() for stage in ("corpus", "tokenizer", "tokens")]
    assert main("run", "--workdir", trained, "--config.train.steps=15") == 0
    assert [(trained / s / "manifest.json").read_bytes() for s in ("corpus", "tokenizer", "tokens")] == manifests
    assert max(line["step"] for line in records(trained)) == 15
    assert list((trained / "evaluations").glob("*/scores.json"))
    assert "warning: after step 12: config.train.steps=15, before 12;" in " ".join(capsys.readouterr().err.split())
    assert main("generate", "--workdir", trained, "--step", "12", "a list") == 0


def test_a_new_field_that_is_on_by_default_is_off_for_a_run_made_before_it(trained, monkeypatch):  # noqa: F811
    make_older(trained)
    (deduplicate,) = (spec for spec in dataclasses.fields(CorpusConfig) if spec.name == "deduplicate")
    assert inherit.load(str(trained / "config.json")).corpus.deduplicate is True
    monkeypatch.setattr(deduplicate, "metadata", {**deduplicate.metadata, "before": False})
    stored = inherit.load(str(trained / "config.json"))
    assert stored.corpus.deduplicate is False
    assert CorpusConfig().deduplicate is True
    inputs = Workdir(trained).manifest("corpus")["inputs"]
    assert Workdir(trained).finished("corpus", stored.corpus, inputs) is not None
    assert Workdir(trained).finished("corpus", dataclasses.replace(stored.corpus, deduplicate=True), inputs) is None


@pytest.mark.parametrize("old", [{"init_from": ""}, {"model": {"encoder": "transformer"}}])
def test_a_run_of_an_incompatible_version_gets_one_line(old, trained, capsys):  # noqa: F811
    (trained / "config.json").write_text(json.dumps(old))
    for command in (("generate", "--workdir", trained, "a"), ("train", "--workdir", trained)):
        assert main(*command) == 2
        error = capsys.readouterr().err
        assert "is of a run that an older, incompatible version made" in error
        assert error.count("\n") == 1
    with pytest.raises(UserError, match="older, incompatible version"):
        inherit.load(str(trained / "config.json"))


def test_a_changed_config_is_reported_and_the_former_one_is_kept(trained, capsys):  # noqa: F811
    former = json.loads((trained / "config.json").read_text())
    changes = ("--config.seed=5", "--config.data.batch_size=16", "--config.optimizer.learning_rate=0.5")
    assert main("train", "--workdir", trained, *changes, "--config.train.steps=13") == 0
    said = " ".join(capsys.readouterr().err.split())
    for change in (
        "config.seed=5, before 0",
        "config.data.batch_size=16, before 8",
        "config.optimizer.learning_rate=0.5, before 0.001",
        "config.train.steps=13, before 12",
    ):
        assert change in said
    assert "after step 12: " in said
    assert json.loads((trained / "config.12.json").read_text()) == former
    assert main("train", "--workdir", trained) == 0
    assert "before" not in capsys.readouterr().err, "nothing changes"
    assert sorted(path.name for path in trained.glob("config*.json")) == ["config.12.json", "config.json"]


def test_a_refused_change_leaves_the_config_as_it_was(trained):  # noqa: F811
    former = (trained / "config.json").read_text()
    assert main("train", "--workdir", trained, "--config.model.width=32") == 2
    assert json.loads((trained / "config.json").read_text()) == json.loads(former)
    assert not (trained / "config.12.json").exists()
