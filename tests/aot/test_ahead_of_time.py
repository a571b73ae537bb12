"""Topologies by name, the verdict, and the verb where libtpu is installed."""

import dataclasses
import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_run import environment, processes
from tiny import both, experiment

from t2c_jax import cli
from t2c_jax.aot import mesh_search as search
from t2c_jax.aot import program as programs
from t2c_jax.aot.ahead_of_time import advise, verdict
from t2c_jax.aot.chips import CHIPS
from t2c_jax.aot.costs import Costs
from t2c_jax.aot.mesh_search import meshes_to_try
from t2c_jax.aot.program import CompiledProgram, Training, _measured, _memory_error
from t2c_jax.aot.roofline import Roofline
from t2c_jax.aot.topology import Topology, topology
from t2c_jax.config import MeshConfig
from t2c_jax.errors import UserError
from t2c_jax.mesh import GIB
from t2c_jax.models.definition import Definition
from t2c_jax.train.setup import trainable_of

compiler = pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="libtpu (extra tpu) is not installed")
PROGRAM = CompiledProgram(
    mesh={"data": 4, "fsdp": 2, "tensor": 1},
    memory={"parameters": 4 * GIB, "optimizer state": 8 * GIB, "batch": 1, "temporaries": 12 * GIB},
    total=24 * GIB,
    available=16 * GIB,
    rows=4,
    model_flops=1.0,
)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5e", "write a chip and a slice's shape"),
        ("", "write a chip"),
        ("v5e:16", "slices of v5e have 2 axes, such as v5e:4x4"),
        ("v5p:4x4", "slices of v5p have 3 axes"),
        ("v5x:2x2", "did you mean 'v5p'"),
        ("v5e:0x2", "at least 1"),
        ("0*v5e:2x2", "at least 1"),
        ("v5e:2x2:2x2", "write a chip"),
    ],
)
def test_a_malformed_topology_is_memory_error(name, message):
    with pytest.raises(UserError, match=message.replace("'", ".")):
        topology(name)


def test_without_libtpu_the_command_says_how_to_install_it(repository):
    """In a process of its own: another test may have loaded libtpu here."""
    code = "import sys; sys.modules['libtpu'] = None; from t2c_jax import cli; sys.exit(cli.main(sys.argv[1:]))"
    config = repository / "configs" / "quickstart.py"
    program = {"code": code, "argv": ["compile", f"--config={config}", "--topology=v5e:2x2"]}
    here = {name: value for name, value in environment().items() if name != "TPU_LIBRARY_PATH"}
    done = processes().run(program, env=here)
    assert done.returncode == 2, done.stderr
    assert "pip install t2c-jax[tpu]" in done.stderr


def test_a_step_that_does_not_fit_gets_advice():
    advice = advise(PROGRAM, "none", 1)
    assert [line.split(" ")[0] for line in advice] == [
        "config.mesh.fsdp=8",
        "config.model.remat=dots",
        "config.train.microbatches=2",
    ]
    line = verdict(PROGRAM, advice)
    assert line.startswith(
        "the train step does not fit: it needs 8.000 GiB more than the 16.000 there are; config.mesh"
    )


def test_more_chips_are_advised_where_no_setting_helps():
    whole = dataclasses.replace(PROGRAM, mesh={"data": 1, "fsdp": 8, "tensor": 1}, rows=1)
    assert advise(whole, "full", 1) == ["use more chips, a larger config.mesh.tensor, or shorter rows"]


@pytest.mark.parametrize(
    ("message", "needed", "available"),
    [
        (
            "RESOURCE_EXHAUSTED: E1000: Ran out of memory on HBM, the total memory required for HLO temporaries (27.5G)"
            " exceeds available HBM (15.75G). HLO module: jit_train_step.",
            27.5,
            15.75,
        ),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 30.25G of 15.75G hbm.", 30.25, 15.75),
    ],
)
def test_the_memory_error_of_the_compiler_is_parsed(message, needed, available):
    assert _memory_error(message) == (needed * GIB, available * GIB)


def test_another_compiler_error_is_no_memory_error():
    assert _memory_error("INTERNAL: something else")[0] is None


def training(config):
    return Training(trainable_of(config, Definition(config.model, 32)), config.train, config.data, config.mesh)


def slice_of(chips: int) -> Topology:
    """So many chips of v5e that nothing is compiled for."""
    return Topology(f"v5e:1x{chips}", "v5e", CHIPS["v5e"], (None,) * chips)


@pytest.mark.parametrize(
    ("state", "meshes"),
    [
        (1, [(2, 4, 1), (8, 1, 1), (4, 1, 2)]),  # the config's own; the state is on every chip; 4 is there already
        (20, [(2, 4, 1), (2, 4, 1), (1, 8, 1), (2, 2, 2)]),  # GiB, of which a chip of 16 takes 8
        (900, [(2, 4, 1)]),
    ],
)
def test_meshes_to_try_hold_the_state(state, meshes):
    axes = Definition(experiment(model={"width": 16}).model, 32).axis_sizes()
    found = meshes_to_try(MeshConfig(2, 4, 1), axes, 1, state * GIB, slice_of(8))
    assert found == [MeshConfig(*sizes) for sizes in dict.fromkeys(meshes)]


def test_the_search_raises_remat_until_a_batch_fits_and_ranks_by_tokens(monkeypatch, capsys):
    compiled = []

    def train_step(config, target):
        """3 GiB a row, less with remat; the first mesh is the faster one."""
        rows = config.data.batch_size // 8
        compiled.append((config.mesh.fsdp, rows, config.model.remat))
        total = rows * {"none": 3, "dots": 2, "full": 1}[config.model.remat] * GIB
        fits = total <= 16 * GIB
        seconds = (rows + {"none": 0, "dots": 1, "full": 3}[config.model.remat]) * config.mesh.fsdp
        estimate = Roofline(seconds, 0, 0, 0, seconds, "compute", 0.5) if fits else None
        return CompiledProgram({"data": 1}, {}, total, 16 * GIB, rows, 1.0, Costs() if fits else None, estimate)

    monkeypatch.setattr(programs, "train_step", train_step)
    monkeypatch.setattr(search, "topology", lambda name: slice_of(8))
    monkeypatch.setattr(search, "meshes_to_try", lambda *_: [MeshConfig(8, 1, 1), MeshConfig(4, 2, 1)])
    found = search.search(training(experiment(data={"batch_size": 32})), "v5e:1x8")
    of_a_mesh = [(2, "none"), (4, "none"), (8, "none"), (8, "dots"), (16, "dots"), (16, "full")]
    assert compiled == [(fsdp, *way) for fsdp in (1, 2) for way in of_a_mesh]
    ranked = [(way["rows_per_chip"], way["remat"]) for way in found["ranked"]]
    assert ranked[:4] == [(2, "none"), (4, "none"), (8, "dots"), (16, "full")]
    assert len(found["ranked"]) == 8
    assert len(found["refused"]) == 4
    assert "compiling at most 12 programs" in capsys.readouterr().err


@compiler
def test_the_command_reports_memory_and_costs(tmp_path, capsys):
    config = tmp_path / "tiny.py"
    config.write_text(
        "from t2c_jax import config as schema\n"
        "def get_config():\n"
        "    config = schema.default()\n"
        "    config.tokenizer.vocab_size = 512\n"
        "    config.data.update(encoder_length=16, decoder_length=16, batch_size=4)\n"
        "    config.model.update(width=16, dropout=0.0)\n"
        "    config.model.encoder.update(layers=3, num_heads=2, head_width=8, feed_forward=32)\n"
        "    config.model.decoder.update(layers=1, num_heads=2, head_width=8, feed_forward=32)\n"
        "    config.mesh.update(data=1, fsdp=-1)\n"
        "    config.decode.update(beam_size=1, max_tokens=4)\n"
        "    return config\n"
    )
    assert cli.main(["compile", f"--config={config}", "--topology=v5e:1x2", "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert "the train step fits" in err
    train = result["train"]
    assert train["fits"]
    assert train["mesh"] == {"data": 1, "fsdp": 2, "tensor": 1}
    # Adam's two moments, and counters.
    assert (
        2 * train["memory"]["parameters"] <= train["memory"]["optimizer state"] < 2.01 * train["memory"]["parameters"]
    )
    assert 0.9 * train["model_flops"] < train["costs"]["flops"] < 2 * train["model_flops"]
    assert {item["kind"] for item in train["costs"]["collectives"]} >= {"all-gather"}
    assert 0 < train["roofline"]["utilisation"] < 1
    assert train["costs"]["unknown_loops"] == result["decode"]["costs"]["unknown_loops"] == 0


@compiler
def test_a_step_compiles_for_v5p():
    config = experiment(model=both(layers=1), mesh={"fsdp": -1}, data={"batch_size": 4})
    found = programs.train_step(training(config), topology("v5p:2x2x1"))
    assert found.fits
    assert found.mesh == {"data": 1, "fsdp": 4, "tensor": 1}


@compiler
@pytest.mark.parametrize(("rows", "fits"), [(44, True), (47, False)])
def test_memory_agrees_with_the_compilers_limit(rows, fits):
    """44 x 4096 rows of 2048 take 15.4 GiB of the 15.75 that it gives, by temp_size_in_bytes more than the chip has."""
    target = topology("v5e:1x1")
    mesh = jax.sharding.Mesh(np.array(target.devices), "x")
    here = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    w, x = (
        jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=here) for shape in ((16, 2048, 2048), (rows * 4096, 2048))
    )

    def loss(w, x):
        layer = jax.checkpoint(lambda x, w: (jnp.tanh(x @ w) + x, None))
        return sum(jax.lax.scan(layer, start, w)[0].astype(jnp.float32).sum() for start in (x, x[::-1]))

    held = {"weights": w.size * 2, "inputs": x.size * 2}
    found = _measured(jax.jit(jax.grad(loss)).lower(w, x), mesh, target, held, 0.0, rows)
    assert found.fits is fits
    # 21 arrays of the inputs' size beside the weights and their gradients; the compiler spares one or needs one more.
    assert found.total == pytest.approx(21 * held["inputs"] + 2 * held["weights"], rel=0.06)
    if fits:
        assert held["inputs"] + found.temp_size > found.available
