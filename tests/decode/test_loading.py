"""Ensembles through the verbs: which checkpoints are averaged, and what each mistake is told."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_run import main, prepared, trained, write_config  # noqa: F401
from tiny import flat

from t2c_jax import config as configs
from t2c_jax.checkpoints.saved_run import SavedRun
from t2c_jax.decode.generator import Generator
from t2c_jax.decode.loading import load_generator
from t2c_jax.workdir import Workdir, digest, write_json

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PROMPTS = ("Return the first list.", "Return the last word, whatever it is.")


def steps(workdir):
    return sorted(int(path.name) for path in workdir.joinpath("checkpoints").iterdir() if path.name.isdigit())


def document(capsys, *arguments):
    """What a verb prints under ``--json``."""
    capsys.readouterr()
    assert main(*arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *arguments):
    """The one line that a mistake gets."""
    capsys.readouterr()
    assert main(*arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("t2c: ")
    assert err.count("\n") == 1
    return err.removeprefix("t2c: ")


def test_evaluate_with_another_checkpoint_of_the_run(trained, capsys):  # noqa: F811
    """Its name says which: beside the single checkpoint's evaluation, and found again by the second call."""
    other = next(step for step in steps(trained) if step != 12)
    options = ("evaluate", "--workdir", trained, "--step", "12")
    alone = document(capsys, *options)
    together = document(capsys, *options, "--with", f"@{other}")
    assert alone["members"] == ["12"]
    assert together["members"] == ["12", f"@{other}"]
    assert together["examples"] == alone["examples"] == 12
    where = trained / "evaluations" / together["name"]
    assert together["name"] == f"12-with{digest('12', f'@{other}')[:8]}-test-all-beam2-penalty1-tokens16"
    written = (where / "scores.json").stat().st_mtime_ns
    assert document(capsys, *options, "--with", f"@{other}") == together
    assert (where / "scores.json").stat().st_mtime_ns == written
    assert (trained / "evaluations" / "12-test-all-beam2-penalty1-tokens16" / "scores.json").is_file()


def test_generate_with_another_run(trained, tmp_path, capsys):  # noqa: F811
    """The mean of a model and itself is the model; the mean with another is another."""
    other = next(step for step in steps(trained) if step != 12)
    copy = shutil.copytree(trained, tmp_path / "copy")
    options = ("generate", "--workdir", trained, "--step", "12", *PROMPTS)
    alone, itself, mixed, own = (
        document(capsys, *options, *extra)
        for extra in ((), ("--with", f"{copy}@12"), ("--with", f"{copy}@{other}"), ("--with", f"@{other}"))
    )
    assert [answer["code"] for answer in itself] == [answer["code"] for answer in alone]
    # One logarithm of a mean more in every step's float32 sums.
    assert [answer["score"] for answer in itself] == pytest.approx([answer["score"] for answer in alone], rel=1e-4)
    assert [answer["score"] for answer in mixed] != pytest.approx([answer["score"] for answer in alone], rel=1e-4)
    assert mixed == own, "the same checkpoint, named in two ways"


def test_a_run_is_joined_by_its_best(trained, tmp_path, capsys):  # noqa: F811
    copy = shutil.copytree(trained, tmp_path / "copy")
    best = document(capsys, "inspect", "--workdir", copy)["checkpoints"]["best"]
    found = document(capsys, "evaluate", "--workdir", trained, "--step", "12", "--with", copy)
    assert found["members"] == ["12", f"{copy}@{best}"]


def test_mistakes_get_one_line(trained, tmp_path, capsys):  # noqa: F811
    options = ("generate", "--workdir", trained, PROMPTS[0])
    said = refused(capsys, *options, "--with", tmp_path / "none")
    assert said == f"--with {tmp_path / 'none'}: '{tmp_path / 'none'}' holds no run\n"
    have = ", ".join(map(str, steps(trained)))
    assert f"has no checkpoint 7; it has {have}\n" in refused(capsys, *options, "--with", "@7")
    assert f"has no checkpoint 7; it has {have}\n" in refused(capsys, *options, "--with", f"{trained}@7")
    assert "--with @best: 'best' is no step; write DIR, DIR@STEP or @STEP" in refused(
        capsys, *options, "--with", "@best"
    )


OTHER_PROMPTS = (
    "its tokenizer, config.data.direction, prefix, reverse_source, placeholders or retrieve is another than this run's"
)


@pytest.mark.parametrize(("key", "value"), [("prefix", "Write: "), ("placeholders", True)])
def test_prompts_of_another_form_are_refused(trained, tmp_path, capsys, key, value):  # noqa: F811
    copy = shutil.copytree(trained, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    config["data"][key] = value
    write_json(copy / "config.json", config)
    said = refused(capsys, "generate", "--workdir", trained, PROMPTS[0], "--with", copy)
    assert OTHER_PROMPTS in said


def test_another_tokenizer_is_refused(trained, tmp_path, capsys):  # noqa: F811
    config = write_config(tmp_path)
    other = tmp_path / "other"
    for verb in ("mine", "tokenizer"):
        assert main(verb, "--config", config, "--workdir", other, "--config.tokenizer.vocab_size=440") == 0
    said = refused(capsys, "evaluate", "--workdir", trained, "--with", other)
    assert OTHER_PROMPTS in said


def test_no_checkpoints_yet(trained, prepared, capsys):  # noqa: F811
    _, workdir = prepared
    said = refused(capsys, "generate", "--workdir", trained, PROMPTS[0], "--with", workdir)
    assert "has no checkpoint; run t2c train first" in said


def test_the_mean_of_the_latest_checkpoints(trained, capsys):  # noqa: F811
    """Parameter by parameter; and its evaluation stands beside that of the single checkpoint."""
    experiment = configs.load(str(trained / "config.json"))
    run = SavedRun.of(experiment, Workdir(trained))
    one, other, mean = (
        flat(load_generator(run, experiment.decode, experiment.mesh, *options)[1].params[0])
        for options in ((9,), (12,), (None, (), 2))
    )
    for path, value in mean.items():
        np.testing.assert_array_equal(value, (one[path] + other[path]) / 2, err_msg=path)
    assert not np.array_equal(one["embedding.embedding"], other["embedding.embedding"])
    scores = document(capsys, "evaluate", "--workdir", trained, "--average", "2")
    assert (scores["step"], scores["average"]) == (12, 2)
    assert (trained / "evaluations" / "12-average2-test-all-beam2-penalty1-tokens16" / "scores.json").is_file()
    options = ("generate", "--workdir", trained, PROMPTS[0], "--average")
    said = refused(capsys, *options, "3")
    assert said.startswith("--average 3: ")
    assert "has 2 of the latest checkpoints up to step 12; a run keeps config.train.keep=2 of them" in said
    assert "--average 0: " in refused(capsys, *options, "0")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_digest_of_parameters_does_not_depend_on_how_they_are_sharded(dtype):
    """A sum of floats does: over eight devices and in another order its last digits are others."""
    values = np.random.default_rng(0).normal(size=4096).astype(np.float32)
    one = Generator.__new__(Generator)
    one.params = [{"kernel": jnp.array(values, dtype)}]
    expected = one.digest()
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    one.params = [{"kernel": jax.device_put(jnp.array(values, dtype), sharding)}]
    assert one.digest() == expected
    one.params = [{"kernel": jnp.array(values, dtype)[::-1]}]
    assert one.digest() == expected
    one.params = [{"kernel": jnp.array(values, dtype).at[7].add(0.5)}]
    assert one.digest() != expected
