"""Runs of adapters: what moves, what a checkpoint holds, what it goes with, and who gets the merged model."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from small_run import main, prepared  # noqa: F401
from tiny import assert_same, batch, both, compiled_on, experiment, flat, make_mesh, on_device, one_device

from t2c_jax import config as configs
from t2c_jax.checkpoints.checkpoint import Checkpoints, save_params
from t2c_jax.checkpoints.metadata import metadata
from t2c_jax.checkpoints.origin import Origin, modules_to_save
from t2c_jax.checkpoints.saved_run import SavedRun
from t2c_jax.config import LoraConfig, OriginConfig, check
from t2c_jax.errors import UserError
from t2c_jax.interop import export_huggingface
from t2c_jax.interop.trained import load_trained
from t2c_jax.library.run_stages import check_origin
from t2c_jax.models import lora
from t2c_jax.models.definition import Definition, count, names
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.train.state import checkpoint_state
from t2c_jax.workdir import Workdir, write_json

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

LORA = LoraConfig(rank=2, alpha=4.0, dropout=0.1)


def with_lora(**sections):
    return replace(experiment(**sections), lora=LORA, origin=OriginConfig("somewhere"))


def test_adapters_alone_train_and_are_averaged():
    """Two steps; the second one's gradient reaches A, which B's zeros hid from the first."""
    config = with_lora(train={"ema_decay": 0.5, "microbatches": 2}, optimizer={"weight_decay": 0.1})
    compiled = compiled_on(one_device(config), config)
    state, values = compiled.init(), on_device(batch())
    start = jax.tree.map(lambda leaf: np.array(leaf, copy=True), jax.device_get(state))
    for _ in range(2):
        state, metrics = compiled.train_step(state, values)
    assert_same(state["params"], start["params"])
    now, before = flat(state["adapters"]), flat(start["adapters"])
    assert all((leaf != before[path]).any() for path, leaf in now.items())
    assert {len(now), *(len(flat(part)) for part in (state["ema"], state["opt_state"]["adam"].mu))} == {len(now)}
    assert not [path for path in flat(state["opt_state"]) if not path.endswith((".a", ".b", "count"))]
    assert checkpoint_state(state).keys() == state.keys() - {"params"}
    assert compiled.trained == count(state["adapters"])
    assert compiled.parameters == compiled.trained + count(state["params"])
    assert float(metrics["update_norm"]) > 0
    averaged = {"params": start["params"], "adapters": jax.device_get(state["ema"])}
    info = compiled.definition.parameter_info()
    expected = lora.merged(averaged["params"], averaged["adapters"], info, LORA)
    for path, leaf in flat(compiled.evaluation_params(state)).items():
        np.testing.assert_allclose(leaf, flat(expected)[path], rtol=1e-5, atol=1e-6, err_msg=path)  # fused or not


def test_rank_zero_is_the_run_without_adapters_and_fresh_adapters_are_the_base():
    plain = experiment(train={"ema_decay": 0.5})
    adapted = replace(plain, lora=replace(LORA, rank=0), origin=OriginConfig("somewhere"))
    compiled = [compiled_on(one_device(config), config) for config in (plain, adapted)]
    stepped = [one.train_step(one.init(), on_device(batch())) for one in compiled]
    assert_same(*stepped)
    assert (compiled[1].parameters, compiled[1].trained) == (compiled[0].parameters, compiled[0].parameters)
    fresh = compiled_on(one_device(adapted), replace(adapted, lora=LORA))
    assert_same(fresh.evaluation_params(fresh.init()), compiled[0].init()["params"])


def test_adapters_and_their_moments_are_split_as_their_kernels():
    config = with_lora(mesh={"data": 2, "fsdp": 2, "tensor": 2})
    compiled = compiled_on(make_mesh(config), config)
    query = compiled.shardings["adapters"]["encoder"]["blocks"]["attention"]["query"]
    assert [tuple(query[half].spec) for half in "ab"] == [(None, "fsdp", None), (None, None, "tensor")]
    assert compiled.shardings["opt_state"]["adam"].mu["encoder"]["blocks"]["attention"]["query"] == query


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A base with parameters as nobody trained them, and over it a run of 4 steps and one that stopped at 2."""
    from small_run import _prepared

    place = tmp_path_factory.mktemp("adapters")
    _, workdir = _prepared(tmp_path_factory.getbasetemp())
    base = Workdir(shutil.copytree(workdir, place / "base"))
    settings = configs.load(str(base.config))
    settings = replace(settings, model=replace(settings.model, **both("t5", layers=1)))
    write_json(base.config, configs.to_dict(settings))
    tokenizers = Tokenizers.load(base.tokenizer)
    draw = np.random.default_rng(0)
    shapes = Definition(settings.model, tokenizers.target.vocab_size).abstract_params()
    params = jax.tree.map(lambda leaf: jax.numpy.asarray(draw.normal(size=leaf.shape) * 0.3, np.float32), shapes)
    save_params(base.checkpoints, metadata(settings.model, tokenizers.digest), params)
    for name, steps, more in (("whole", 4, ()), ("halted", 2, ()), ("headed", 4, COPY)):
        shutil.copytree(base.path, place / name, ignore=shutil.ignore_patterns("checkpoints"))
        assert train(place / name, place / "base", steps, *more) == 0
    return place


COPY = ("--config.model.copy=true",)  # a head that the base lacks


def train(workdir, base, steps, *more):
    values = {
        "origin.run": base,
        "lora.rank": 2,
        "train.steps": steps,
        "train.save_every": 2,
        "optimizer.schedule": "constant",
        "optimizer.learning_rate": 0.05,
    }
    return main("train", "--workdir", workdir, *(f"--config.{key}={value}" for key, value in values.items()), *more)


def modules(config, vocabulary=448):
    return modules_to_save(config.origin, config.lora, Definition(config.model, vocabulary))


def opened(workdir: Path):
    run = Workdir(workdir)
    settings = configs.load(str(run.config))
    vocabulary = Tokenizers.load(run.tokenizer).target.vocab_size
    compiled = compiled_on(make_mesh(settings), settings, vocabulary, modules(settings, vocabulary))
    expected = metadata(
        settings.model, Tokenizers.load(run.tokenizer).digest, settings.lora, Origin(settings.origin).identity
    )
    checkpoints = Checkpoints(run.checkpoints, expected, read_only=True)
    return settings, compiled, checkpoints


def base_params_of(config, abstract):
    with Origin(config) as origin:
        return origin.restore(abstract)


def latest(workdir: Path):
    _, compiled, checkpoints = opened(workdir)
    _, state = checkpoints.restore_latest(checkpoint_state(compiled.abstract_state_on_mesh()))
    checkpoints.close()
    return jax.device_get(state)


def model(workdir: Path, step=None):
    return exported(configs.load(str(workdir / "config.json")), workdir, step)


def exported(config, workdir, step=None, average=1):
    run = SavedRun.of(config, Workdir(workdir))
    return load_trained(run, config.decode, config.mesh, step, average, text="", stop_metric="loss")


def test_a_checkpoint_holds_no_parameter_of_the_base(runs):
    _, compiled, checkpoints = opened(runs / "whole")
    assert checkpoints.steps() == [2, 4]
    written = checkpoints._manager.item_metadata(4)["state"].tree
    checkpoints.close()
    assert set(written) == {"step", "adapters", "opt_state", "ema"}
    # Shapes, as the checkpoint tells them: of so small a model the files on disk are mostly Orbax's own notes.
    numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(written))
    assert numbers == count(checkpoint_state(compiled.abstract_state)) < count(compiled.abstract_state["params"]) / 2


def test_who_asks_for_the_model_gets_base_and_adapters_merged(runs, tmp_path):
    """Two runs over one base are two models; a run that starts from one of them starts from the merged parameters."""
    settings, compiled, checkpoints = opened(runs / "whole")
    checkpoints.close()
    abstract = compiled.abstract_state_on_mesh()["params"]
    base = jax.device_get(base_params_of(settings.origin, abstract))
    found = {name: model(runs / name) for name in ("whole", "halted")}
    for name, one in found.items():
        expected = flat(
            lora.merged(base, latest(runs / name)["ema"], compiled.definition.parameter_info(), settings.lora)
        )
        for path, leaf in flat(one.params).items():
            np.testing.assert_allclose(leaf, expected[path], rtol=1e-5, atol=1e-6, err_msg=path)  # fused or not
    query = [one.params["encoder"]["blocks"]["attention"]["query"] for one in found.values()]
    assert np.abs(query[0] - query[1]).max() > 1e-3
    started = base_params_of(OriginConfig(str(runs / "whole")), abstract)
    assert_same(started, found["whole"].params)

    plain = Workdir(shutil.copytree(runs / "base", tmp_path / "plain", ignore=shutil.ignore_patterns("checkpoints")))
    merged = jax.tree.map(jax.numpy.asarray, found["whole"].params)
    save_params(
        plain.checkpoints,
        metadata(configs.load(str(plain.config)).model, Tokenizers.load(plain.tokenizer).digest),
        merged,
    )
    files = []
    for name, one in (("adapters", found["whole"]), ("merged", model(plain.path))):
        directory = tmp_path / name
        directory.mkdir()
        export_huggingface.write(one, directory, ["a text"], "float32")
        files.append((directory / "model.safetensors").read_bytes())
    assert files[0] == files[1]


def test_a_head_that_the_base_lacks_trains_in_full(runs):
    """It is in the checkpoint, in the optimizer's state and in the average; the base is read and never moves."""
    settings, compiled, checkpoints = opened(runs / "headed")
    written = checkpoints._manager.item_metadata(4)["state"].tree
    checkpoints.close()
    assert set(written) == {"step", "adapters", "opt_state", "ema"}
    state = latest(runs / "headed")
    head = {path for path in flat(compiled.definition.abstract_params()) if path.startswith("pointer.")}
    for part in (written["adapters"], state["ema"], state["opt_state"]["adam"].mu):
        paths = {".".join(names(path)) for path, _ in jax.tree_util.tree_leaves_with_path(part)}
        assert {path for path in paths if not path.endswith((".a", ".b"))} == head
        assert len(paths) == 12 * 2 + len(head), "none of the head's kernels has adapters"
    assert compiled.trained == 12 * 2 * 16 * 2 + count(state["adapters"]["pointer"])
    assert compiled.parameters == compiled.trained + count(compiled.abstract_state["params"])
    drawn = flat(jax.device_get(compiled.init())["adapters"])
    for path in head:
        assert (flat(state["adapters"])[path] != drawn[path]).any(), path
    abstract = compiled.abstract_state_on_mesh()["params"]
    assert not [path for path in flat(abstract) if path.startswith("pointer.")]
    assert_same(base_params_of(settings.origin, abstract), model(runs / "base").params)


def test_a_run_with_a_new_head_resumes_bit_for_bit(runs, tmp_path, capsys, monkeypatch):
    """Each start opens the base once."""
    halted, bases, open_base = tmp_path / "halted", [], Origin.__init__

    def counted(self, config):
        bases.append(config.run)
        open_base(self, config)

    monkeypatch.setattr(Origin, "__init__", counted)
    shutil.copytree(runs / "base", halted, ignore=shutil.ignore_patterns("checkpoints"))
    assert train(halted, runs / "base", 2, *COPY) == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert re.search(r"pointer\.key\W+16 x 16\W+initialised", shown), "the table before the first step says what is new"
    assert train(halted, runs / "base", 4, "--json", *COPY) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert f"training {result['trained']:,} of {result['parameters']:,} parameters" in err
    assert bases == [str(runs / "base")] * 2
    assert result["trained"] == count(latest(halted)["adapters"]) < result["parameters"] / 2
    assert_same(latest(halted), latest(runs / "headed"))


def test_a_new_head_answers_with_base_and_adapters_as_one_model(runs, tmp_path):
    """Evaluated, averaged and started from as the merged parameters would be."""
    settings, compiled, checkpoints = opened(runs / "headed")
    checkpoints.close()
    base = jax.device_get(base_params_of(settings.origin, compiled.abstract_state_on_mesh()["params"]))
    info, found = compiled.definition.parameter_info(), model(runs / "headed")
    expected = flat(lora.merged(base, latest(runs / "headed")["ema"], info, settings.lora))
    assert flat(found.params).keys() == flat(compiled.definition.abstract_params()).keys() == expected.keys()
    for path, leaf in flat(found.params).items():
        np.testing.assert_allclose(leaf, expected[path], rtol=1e-5, atol=1e-6, err_msg=path)  # fused or not
    assert modules(replace(settings, origin=OriginConfig(str(runs / "headed")))) == frozenset()

    plain = Workdir(shutil.copytree(runs / "base", tmp_path / "plain", ignore=shutil.ignore_patterns("checkpoints")))
    copying = replace(settings, origin=OriginConfig(), lora=LoraConfig())
    write_json(plain.config, configs.to_dict(copying))
    merged = jax.tree.map(jax.numpy.asarray, found.params)
    save_params(plain.checkpoints, metadata(copying.model, Tokenizers.load(plain.tokenizer).digest), merged)
    mean, parts = exported(settings, runs / "headed", average=2).params, [2, 4]
    parts = [flat(model(runs / "headed", step).params) for step in parts]
    for path, leaf in flat(mean).items():
        np.testing.assert_allclose(leaf, (parts[0][path] + parts[1][path]) / 2, rtol=1e-6, err_msg=path)
    results = []
    for workdir in (runs / "headed", plain.path):
        assert main("evaluate", "--workdir", workdir, "--config.evaluate.max_examples=8") == 0
        results.append(next((Path(workdir) / "evaluations").glob("*/predictions.jsonl")).read_text())
    assert results[0] == results[1]


def test_another_base_is_refused_and_a_copy_is_none(runs, tmp_path, capsys):
    copy, whole = tmp_path / "copy", tmp_path / "whole"
    shutil.copytree(runs / "base", copy)
    shutil.copytree(runs / "whole", whole)
    assert train(whole, copy, 4) == 0
    checkpoints = Checkpoints(copy / "checkpoints", json.loads(metadata_file(copy).read_text()))
    checkpoints.save(1, {"step": np.zeros((), np.int32), "params": model(runs / "base").params}, 0.0)
    checkpoints.close()
    capsys.readouterr()
    assert train(whole, copy, 4) == 2
    message = "does not fit this run: its adapters were trained over other parameters than those of config.origin"
    assert message in capsys.readouterr().err
    with pytest.raises(UserError, match=r"were trained over other parameters than those of config\.origin"):
        exported(replace(configs.load(str(whole / "config.json")), origin=OriginConfig(str(copy))), whole)
    values = json.loads((whole / "config.json").read_text())
    values["origin"]["run"] = str(copy)
    write_json(whole / "config.json", values)
    _, compiled, opened_here = opened(runs / "whole")
    opened_here.close()
    with pytest.raises(UserError, match=r"were trained over other parameters than those of config\.origin"):
        base_params_of(OriginConfig(str(whole)), compiled.abstract_state_on_mesh()["params"])


def metadata_file(workdir: Path) -> Path:
    return next((workdir / "checkpoints" / "0" / "run").glob("metadata"))


def test_other_adapters_are_refused(runs, capsys):
    assert train(runs / "whole", runs / "base", 4, "--config.lora.alpha=3") == 2
    assert "config.lora.alpha is 3.0 here and 16.0 in the checkpoint" in capsys.readouterr().err


def test_inspect_counts_adapters(runs, capsys):
    assert main("inspect", "--workdir", runs / "whole", "--json") == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    _, compiled, checkpoints = opened(runs / "whole")
    checkpoints.close()
    assert (result["parameters"], result["trained"]) == (compiled.parameters, compiled.trained)
    assert {block["name"]: block["trained"] for block in result["blocks"]}["embedding"] == 0
    # 12 kernels of 16 x 16 in one layer of each side, two factors of 16 x 2 each
    assert result["trained"] == 12 * 2 * 16 * 2
    assert "frozen by config.lora" in err
    assert main("inspect", "--workdir", runs / "headed", "--json") == 0
    headed = {block["name"]: block["trained"] for block in json.loads(capsys.readouterr().out)["blocks"]}
    _, compiled, checkpoints = opened(runs / "headed")
    checkpoints.close()
    assert modules(configs.load(str(runs / "headed" / "config.json"))) == {
        f"pointer.{name}" for name in compiled.abstract_state["adapters"]["pointer"]
    }
    assert sum(headed.values()) == compiled.trained
    assert headed["pointer"] == count(compiled.abstract_state["adapters"]["pointer"])


def test_a_base_that_is_no_whole_model_is_refused_before_anything_is_done(runs):
    settings = configs.load(str(runs / "whole" / "config.json"))
    check_origin(settings)
    check_origin(replace(settings, model=replace(settings.model, copy=True)))
    with pytest.raises(
        UserError,
        match=r"does not have .* \(layers 0 copied, 1-2 new\).*train the model with config.lora.rank=0",
    ):
        check_origin(
            replace(settings, model=replace(settings.model, decoder=replace(settings.model.decoder, layers=3)))
        )
    with pytest.raises(UserError, match=r"config.lora.targets='nowhere' finds no matrix"):
        check_origin(replace(settings, lora=LoraConfig(rank=1, targets="nowhere")))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rank": -1}, "config.lora.rank must be at least 0"),
        ({"rank": 2}, "config.lora.rank=2 adapts the parameters of another run: set config.origin.run"),
        ({"alpha": 0.0}, "config.lora.alpha must be above 0"),
        ({"dropout": 1.0}, "config.lora.dropout=1.0 must lie in"),
        ({"targets": "("}, "config.lora.targets='(' is no regular expression"),
    ],
)
def test_adapters_that_cannot_be(values, message):
    with pytest.raises(UserError) as caught:
        check(experiment(lora=values))
    assert message in str(caught.value)
