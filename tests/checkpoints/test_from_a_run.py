"""Runs that start from a run: the same numbers where all is the same, and each difference handled as it is shown."""

import shutil

import jax
import numpy as np
import pytest
from small_run import main, prepared, records, trained  # noqa: F401
from tiny import compiled_on, flat, initial_state, make_mesh, open_data

from t2c_jax import config as configs
from t2c_jax.checkpoints import inherit
from t2c_jax.checkpoints.checkpoint import Checkpoints, save_params
from t2c_jax.checkpoints.metadata import metadata
from t2c_jax.errors import UserError
from t2c_jax.library.run_stages import check_origin
from t2c_jax.models.definition import Definition
from t2c_jax.tokenizers.loading import Tokenizers, load_tokenizer
from t2c_jax.train.held_out_loss import measure_tasks
from t2c_jax.workdir import Workdir, write_json

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def experiment_of(workdir, *overrides, origin):
    """The experiment of a workdir, started from another one, or from WORKDIR@STEP."""
    run, _, step = str(origin).partition("@")
    return inherit.load(str(workdir / "config.json"), [f"origin.run={run}", f"origin.step={step or 0}", *overrides])


def started(experiment, vocabulary=448, tokenizer=None):
    """Random parameters, and those that the run starts from; on the host."""
    compiled = compiled_on(make_mesh(experiment), experiment, vocabulary)
    return flat(compiled.init()["params"]), flat(initial_state(experiment, compiled, tokenizer)["params"])


def averages(workdir, step):
    """The averaged parameters of a checkpoint, as its run left them."""
    experiment = configs.load(str(workdir / "config.json"))
    tokenizers = Tokenizers.load(workdir / "tokenizer")
    compiled = compiled_on(make_mesh(experiment), experiment, tokenizers.target.vocab_size)
    checkpoints = Checkpoints(workdir / "checkpoints", metadata(experiment.model, tokenizers.digest), read_only=True)
    state = checkpoints.restore(step, compiled.abstract_state_on_mesh())
    checkpoints.close()
    return flat(state["ema"])


def test_a_run_that_starts_from_a_checkpoint_has_its_dev_loss(trained):  # noqa: F811
    """Bit for bit: the same parameters, batches and devices, and nothing rounded on the way."""
    measured = next(line for line in records(trained) if line["kind"] == "dev" and line["step"] == 12)
    experiment = experiment_of(trained, origin=f"{trained}@12")
    tokenizers = Tokenizers.load(trained / "tokenizer")
    compiled = compiled_on(make_mesh(experiment), experiment, tokenizers.target.vocab_size)
    state = initial_state(experiment, compiled, tokenizers.target)
    data = open_data(experiment, Workdir(trained), tokenizers, make_mesh(experiment))
    assert measure_tasks(compiled, state["params"], data, experiment.train.eval_batches)["nll"] == measured["nll"]
    assert int(state["step"]) == 0


def test_the_run_starts_from_the_step_that_is_named(trained):  # noqa: F811
    one, other = averages(trained, 9), averages(trained, 12)
    _, found = started(experiment_of(trained, origin=f"{trained}@9"))
    for path, value in found.items():
        np.testing.assert_array_equal(value, one[path], err_msg=path)
    assert not np.array_equal(one["embedding.embedding"], other["embedding.embedding"])
    with pytest.raises(UserError, match=r"has no checkpoint 7; it has .*9, 12"):
        check_origin(experiment_of(trained, origin=f"{trained}@7"))


def test_further_layers_an_output_table_and_a_head_are_shown_and_initialised(trained, capsys):  # noqa: F811
    source = averages(trained, 12)
    changes = ("model.decoder.layers=3", "model.tied_embeddings=false", "model.copy=true", "mesh.tensor=2")
    experiment = experiment_of(trained, *changes, origin=f"{trained}@12")
    check_origin(experiment)
    drawn, found = started(experiment)
    for path, value in found.items():
        if path.startswith("decoder.blocks."):
            np.testing.assert_array_equal(value[:1], source[path], err_msg=path)
            np.testing.assert_array_equal(value[1:], drawn[path][1:], err_msg=path)
        elif path.startswith("pointer."):
            np.testing.assert_array_equal(value, drawn[path], err_msg=path)
        elif path == "output":
            np.testing.assert_array_equal(value, source["embedding.embedding"] / 4)  # of states times 16^-1/2
        else:
            np.testing.assert_array_equal(value, source[path], err_msg=path)
    shown = " ".join(capsys.readouterr().err.split())
    assert "layers 0 copied, 1-2 new" in shown
    assert "copied, from embedding" in shown


def test_further_recurrent_layers_are_initialised_over_the_sources(prepared, tmp_path, capsys):  # noqa: F811
    """And what starts them: the bridge's states of the first layers are the source's."""
    source = Workdir(shutil.copytree(prepared[1], tmp_path / "source"))
    lstm = ("model.encoder=lstm", "model.decoder=lstm", "model.encoder.width=12", "model.decoder.width=12")
    settings = configs.load(str(source.config), lstm)
    write_json(source.config, configs.to_dict(settings))
    draw = np.random.default_rng(0)
    shapes = Definition(settings.model, 448).abstract_params()
    params = jax.tree.map(lambda leaf: jax.numpy.asarray(draw.normal(size=leaf.shape), np.float32), shapes)
    save_params(source.checkpoints, metadata(settings.model, Tokenizers.load(source.tokenizer).digest), params)
    deeper = ("model.encoder.layers=2", "model.decoder.layers=3", "mesh.tensor=2")
    experiment = experiment_of(source.path, *deeper, origin=source.path)
    check_origin(experiment)
    there = flat(params)
    drawn, found = started(experiment)
    assert found["decoder.bridge"].shape == (24, 3 * 2, 12)
    for path, value in found.items():
        axis = {"decoder.bridge": 1, "decoder.bridge_bias": 0}.get(path)
        if axis is not None:
            np.testing.assert_array_equal(value.take(range(2), axis), there[path], err_msg=path)
            np.testing.assert_array_equal(value.take(range(2, 6), axis), drawn[path].take(range(2, 6), axis))
        else:
            np.testing.assert_array_equal(value, there.get(path, drawn[path]), err_msg=path)
    assert {path.split(".")[1] for path in found.keys() - there.keys()} == {
        *("forward_1", "backward_1", "layer_1", "layer_2")
    }
    assert "states 0-1 copied, 2-5 new" in " ".join(capsys.readouterr().err.split())


def test_an_untied_table_gives_the_tied_tables_logits(trained):  # noqa: F811
    """A scale of a quarter rounds nothing, so they are equal to the last bit."""
    tied = experiment_of(trained, origin=f"{trained}@12")
    untied = experiment_of(trained, "model.tied_embeddings=false", origin=f"{trained}@12")
    tokenizers = Tokenizers.load(trained / "tokenizer")
    batch = next(
        open_data(tied, Workdir(trained), tokenizers, make_mesh(tied)).dev[""].dataset(0, 1).as_numpy_iterator()
    )
    logits = []
    for experiment in (tied, untied):
        definition = compiled_on(make_mesh(experiment), experiment, 448).definition
        _, params = started(experiment)

        def predicted(leaves, definition=definition):
            model = definition.bind(nested(leaves))
            return model.logits(model.predict(batch).states_BTD)

        logits.append(np.asarray(jax.jit(predicted)(params)))
    np.testing.assert_array_equal(*logits)
    assert np.ptp(logits[0]) > 0.1


def nested(leaves):
    tree = {}
    for path, leaf in leaves.items():
        place = tree
        *parents, last = path.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = leaf
    return tree


def test_a_tokenizer_that_is_not_the_sources_is_refused(trained, prepared):  # noqa: F811
    _, other = prepared
    assert main("tokenizer", "--workdir", other, "--config.tokenizer.vocab_size=440") == 0
    experiment = experiment_of(other, origin=f"{trained}@12")
    with pytest.raises(UserError, match=r"is not that of config.origin.run, .*: run t2c tokenizer"):
        started(experiment, tokenizer=load_tokenizer(other / "tokenizer"))


def test_with_a_new_tokenizer_pieces_keep_the_vectors_of_the_same_bytes(trained, tmp_path, capsys):  # noqa: F811
    """Trained on this corpus, of another size; pieces are compared by their bytes."""
    source, theirs = averages(trained, 12)["embedding.embedding"], load_tokenizer(trained / "tokenizer")
    run = tmp_path / "new"
    run.mkdir()
    shutil.copytree(trained / "corpus", run / "corpus")
    shutil.copy(trained / "config.json", run / "config.json")
    options = (f"origin.run={trained}", "origin.step=12", "origin.take=parameters", "tokenizer.vocab_size=460")
    options = tuple(f"--config.{option}" for option in (*options, "tokenizer.sentinels=12"))
    assert main("tokenizer", "--workdir", run, *options) == 0
    ours = load_tokenizer(run / "tokenizer")
    assert (ours.vocab_size, len(ours.sentinels)) == (460, 12)
    experiment = configs.load(str(run / "config.json"))
    _, found = started(experiment, ours.vocab_size, ours)
    shared = 0
    for i in range(ours.vocab_size):
        same = [
            j
            for j in range(theirs.vocab_size)
            if (theirs.surfaces[j], bool(theirs.is_byte[j])) == (ours.surfaces[i], bool(ours.is_byte[i]))
        ]
        row = found["embedding.embedding"][i]
        if ours.surfaces[i] and same:
            np.testing.assert_array_equal(row, source[same[0]])
            shared += 1
        elif i in ours.sentinels[10:] or ours.surfaces[i]:
            # A mean of 448 rows, summed in another order.
            np.testing.assert_allclose(row, source.mean(axis=0), atol=1e-6)
        else:
            np.testing.assert_array_equal(row, source[i], err_msg="pad, eos and the first sentinels")
            shared += 1
    assert 256 < shared < 460
    assert f"remapped {shared} of 460 pieces" in " ".join(capsys.readouterr().err.split())
