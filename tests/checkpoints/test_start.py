"""Runs that start from another workdir: what is taken, what is drawn, what is refused; and that they learn."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from huggingface_models import write
from small_run import main, records, write_config
from tiny import compiled_on, flat, initial_state, make_mesh

from t2c_jax import config as configs
from t2c_jax.checkpoints import inherit
from t2c_jax.checkpoints.checkpoint import Checkpoints
from t2c_jax.checkpoints.metadata import metadata
from t2c_jax.checkpoints.pytrees import unflatten
from t2c_jax.config import OriginConfig
from t2c_jax.errors import UserError
from t2c_jax.interop.import_model import import_model
from t2c_jax.library.run_stages import check_origin
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import Workdir

pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Workdirs of a BERT, a GPT-2 and a ModernBERT."""
    base = tmp_path_factory.mktemp("imported")
    for kind in ("bert", "gpt2", "modernbert"):
        write(kind, base / f"{kind}_model")
        import_model(base / f"{kind}_model", Workdir(base / kind))
    return base


def overrides(origin, encoder="bert", **more):
    take = "shape,tokenizer,parameters"
    values = {"origin.run": origin, "origin.take": take, "model.encoder": encoder, "train.steps": 4, **more}
    return [f"--config.{key}={value}" for key, value in values.items()]


def run(tmp_path, *options):
    config = tmp_path / "config.py"
    if not config.exists():
        write_config(tmp_path)
    for verb in ("mine", "tokenizer", "prepare", "train"):
        if status := main(verb, "--config", config, "--workdir", tmp_path / "run", *options):
            return status
    return 0


def loaded(workdir: Path, name="params"):
    """The newest checkpoint's parameters."""
    experiment = configs.load(str(workdir / "config.json"))
    tokenizers = Tokenizers.load(workdir / "tokenizer")
    compiled = compiled_on(make_mesh(experiment), experiment, tokenizers.target.vocab_size)
    checkpoints = Checkpoints(workdir / "checkpoints", metadata(experiment.model, tokenizers.digest), read_only=True)
    step, state = checkpoints.restore_latest(compiled.abstract_state_on_mesh())
    checkpoints.close()
    return step, flat(state[name])


def source_params(imported, kind):
    checkpoints = Checkpoints(imported / kind / "checkpoints", {}, read_only=True)
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = checkpoints.params_shapes(0)
    abstract = {path: jax.ShapeDtypeStruct(shape, np.float32, sharding=sharding) for path, shape in shapes.items()}
    params = flat(checkpoints.restore_any_params(0, unflatten(abstract)))
    checkpoints.close()
    return params


def experiment_from(imported, tmp_path, kind="bert", **more):
    write_config(tmp_path)
    options = [item.removeprefix("--config.") for item in overrides(imported / kind, kind, **more)]
    return inherit.load(str(tmp_path / "config.py"), options)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_parameters_and_their_average_start_from_the_source_on_every_mesh(kind, imported, tmp_path, capsys):
    source = source_params(imported, kind)
    more = {"mesh.fsdp": 2, "mesh.tensor": 2, "mesh.data": 2, "model.encoder.mix_layers": True}
    experiment = experiment_from(imported, tmp_path, kind, **more)
    compiled = compiled_on(make_mesh(experiment), experiment, 448)
    drawn, state = compiled.init(), initial_state(experiment, compiled)
    assert state.keys() == drawn.keys()
    for name in ("params", "ema"):
        found, fresh = flat(state[name]), flat(drawn[name])
        for path, value in found.items():
            np.testing.assert_array_equal(value, source.get(path, fresh[path]), err_msg=path)
    shardings = jax.tree.map(
        lambda leaf, sharding: leaf.sharding.is_equivalent_to(sharding, leaf.ndim), state, compiled.shardings
    )
    assert all(jax.tree.leaves(shardings))
    shown = capsys.readouterr().err
    assert "encoder.mix.weights" in shown
    assert shown.count("copied") == len(source), "each parameter has a line"


def test_a_frozen_encoder_stays_and_the_loss_falls(imported, tmp_path):
    frozen = {"optimizer.rates": "^encoder=0", "train.steps": 30, "train.log_every": 10, "train.save_every": 30}
    assert run(tmp_path, *overrides(imported / "bert", **frozen, **{"optimizer.learning_rate": 1e-2})) == 0
    step, params = loaded(tmp_path / "run")
    assert step == 30
    for path, value in source_params(imported, "bert").items():
        np.testing.assert_array_equal(params[path], value, err_msg=path)
    losses = [line["loss"] for line in records(tmp_path / "run") if line["kind"] == "train"]
    assert losses[-1] < losses[0] - 0.5


def test_an_encoder_with_a_rate_trains_and_the_run_resumes_without_its_origin(imported, tmp_path):
    shutil.copytree(imported / "modernbert", tmp_path / "ettin")
    options = overrides(
        tmp_path / "ettin", "modernbert", **{"optimizer.rates": r"^encoder\.=0.1", "train.save_every": 2}
    )
    assert run(tmp_path, *options) == 0
    step, params = loaded(tmp_path / "run")
    source = source_params(imported, "modernbert")
    moved = {path for path, value in source.items() if not np.array_equal(params[path], value)}
    assert step == 4
    assert len(moved) > len(source) / 2
    shutil.rmtree(tmp_path / "ettin")
    assert main("train", "--workdir", tmp_path / "run", "--config.train.steps=6") == 0
    assert loaded(tmp_path / "run")[0] == 6


@pytest.fixture(scope="module")
def started(imported, tmp_path_factory):
    """A run that started from the BERT."""
    directory = tmp_path_factory.mktemp("started")
    assert run(directory, *overrides(imported / "bert")) == 0
    return directory / "run"


def test_a_run_can_start_from_a_run(started, tmp_path):
    assert run(tmp_path, *overrides(started)) == 0
    for name in ("spm.model", "encoder/tokenizer.json", "encoder/specials.json"):
        assert (tmp_path / "run" / "tokenizer" / name).read_bytes() == (started / "tokenizer" / name).read_bytes()
    experiment = replace(configs.load(str(tmp_path / "run" / "config.json")))
    compiled = compiled_on(make_mesh(experiment), experiment, 448)
    _, average = loaded(started, "ema")
    for path, value in flat(initial_state(experiment, compiled)["params"]).items():
        np.testing.assert_array_equal(value, average[path], err_msg=path)


def test_the_encoders_tokenizer_reads_texts_and_the_runs_own_writes_code(started):
    tokenizers = Tokenizers.load(started / "tokenizer")
    assert tokenizers.text.before == (2,)
    assert tokenizers.source is tokenizers.text
    assert tokenizers.code.vocab_size == 448
    assert not (started / "tokenizer" / "encoder" / "manifest.json").exists()


def test_the_encoders_shape_is_the_sources(imported, tmp_path):
    more = {"model.encoder.mix_layers": True}
    experiment = experiment_from(imported, tmp_path, "gpt2", **more)
    pretrained = experiment.model.encoder
    assert (pretrained.layers, pretrained.width, pretrained.positions) == (2, 24, 64)
    assert pretrained.activation == "gelu_tanh"
    assert pretrained.mix_layers, "how layers are used is the run's own"
    longer = experiment_from(imported, tmp_path, "gpt2", **{"model.encoder.positions": 96})
    assert longer.model.encoder.positions == 96, "an override"
    check_origin(longer)
    shorter = experiment_from(imported, tmp_path, "gpt2", **{"model.encoder.positions": 48})
    with pytest.raises(UserError, match=r"encoder.positions is \[64, 24\] in .* and \[48, 24\] here"):
        check_origin(shorter)
    resolved = tmp_path / "config.json"
    resolved.write_text(json.dumps(configs.to_dict(experiment)))
    assert configs.load(str(resolved)) == experiment


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"origin.run": "/nowhere"}, "'/nowhere' is not the workdir of an import or of a run; make it with t2c import"),
        ({"model.encoder": "gpt2"}, "holds an encoder of type bert, and config.model.encoder is of type gpt2"),
        (
            {"model.encoder": "transformer"},
            "encoder of type bert, and config.model.encoder is of type transformer",
        ),
    ],
    ids=["missing", "another", "fresh"],
)
def test_an_unfit_origin_is_refused_before_anything_is_mined(more, message, imported, tmp_path, capsys):
    config = write_config(tmp_path)
    options = overrides(imported / "bert", **more)
    assert main("run", "--config", config, "--workdir", tmp_path / "run", *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "run" / "corpus").exists()


def test_an_origin_without_a_checkpoint_or_with_a_damaged_config_is_refused(imported, tmp_path):
    origin = tmp_path / "origin"
    shutil.copytree(imported / "bert", origin)
    experiment = replace(experiment_from(imported, tmp_path), origin=OriginConfig(str(origin)))
    check_origin(experiment)
    shutil.rmtree(origin / "checkpoints" / "0")
    with pytest.raises(UserError, match="has no checkpoint; finish that run, or name another"):
        check_origin(experiment)
    (origin / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"config.json' is damaged"):
        check_origin(experiment)


@pytest.mark.parametrize("argument", ["bert", "gpt2"])
def test_the_config_for_pretrained_encoders_takes_either(argument, repository):
    experiment = configs.load(f"{repository / 'configs' / 'pretrained_encoder.py'}:{argument}")
    assert (experiment.model.encoder.type, experiment.origin.run) == (argument, f"runs/{argument}")


def test_a_mesh_that_does_not_divide_the_encoder_is_refused(imported, tmp_path):
    experiment = experiment_from(imported, tmp_path)
    sizes = replace(experiment.model.encoder, num_heads=3)
    uneven = replace(experiment, model=replace(experiment.model, encoder=sizes))
    uneven = replace(uneven, mesh=configs.MeshConfig(tensor=2))
    with pytest.raises(UserError, match=r"axis 'heads' of 3 is not divisible by config.mesh.tensor=2"):
        make_mesh(uneven)
