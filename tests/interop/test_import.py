"""Model directories as ``transformers`` writes them, imported; and all that must be refused instead."""

import json
import re
import struct
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from huggingface_models import ROWS, write
from safetensors.numpy import load_file, save_file
from small_run import main
from stored_arrays import unequal_copy
from tiny import assert_same, flat, on_device

from t2c_jax import config as configs
from t2c_jax.checkpoints.checkpoint import Checkpoints
from t2c_jax.checkpoints.metadata import metadata
from t2c_jax.decode.logits_processors import unwritable
from t2c_jax.errors import UserError
from t2c_jax.interop.import_model import import_model
from t2c_jax.models.definition import Definition
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import Workdir

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

ENCODERS = ("bert", "roberta", "gpt2", "modernbert")


def restored(workdir):
    """The model section, and the parameters as a run would read them."""
    values = json.loads(workdir.config.read_text())
    values |= {"origin": {"run": "x"}, "data": {"encoder_length": 32}}  # what a run would say
    experiment = configs.from_dict(values)
    tokenizers = Tokenizers.load(workdir.tokenizer)
    checkpoints = Checkpoints(workdir.checkpoints, metadata(experiment.model, tokenizers.digest), read_only=True)
    assert checkpoints.steps() == [0]
    abstract = Definition(experiment.model, tokenizers.target.vocab_size).abstract_params()
    if experiment.model.encoder.own_tokenizer:
        abstract = {"encoder": abstract["encoder"]}
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), abstract)
    params = checkpoints.restore_params(0, abstract)
    checkpoints.close()
    return experiment.model, tokenizers, params


@pytest.mark.parametrize("head", [False, True], ids=["bare", "with its head"])
@pytest.mark.parametrize("kind", ENCODERS)
def test_an_imported_encoder_reads_text_as_transformers_does(kind, head, tmp_path):
    theirs = write(kind, tmp_path / "model", head)
    workdir = Workdir(tmp_path / "run")
    counts = import_model(tmp_path / "model", workdir)
    assert not counts["whole_model"]
    model, tokenizers, params = restored(workdir)
    tokenizer = tokenizers.source
    (ids,) = tokenizer.encode_batch(["Return the first value, or None."])
    ids = np.array([*tokenizer.before, *ids, *tokenizer.after])[None]
    batch = {"encoder_input_tokens": ids, "encoder_segment_ids": np.ones_like(ids)}
    batch = on_device({**batch, "encoder_positions": np.arange(ids.shape[1])[None]})
    definition = Definition(model, 300)
    whole = {**definition.init(jax.random.key(0)), **params}
    states = jax.jit(lambda params: definition.bind(params).encode(batch).states_BSE)(whole)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids), output_hidden_states=True).hidden_states[-1]
    # Float32 on both sides, sums in another order, on states of size 1.
    np.testing.assert_allclose(states, expected.numpy(), rtol=0, atol=1e-4)
    assert tokenizer.vocab_size == ROWS[kind]
    heads = [name for name in counts["tensors_left_out"] if not re.match(r"cls|lm_head|head\.|decoder\.", name)]
    assert all("pooler" in name for name in heads)


@pytest.mark.parametrize("values", [{}, {"feed_forward_proj": "gated-gelu"}], ids=["v1.0", "gated"])
def test_an_imported_t5_answers_at_once_as_transformers_does(values, tmp_path, capsys):
    theirs = write("t5", tmp_path / "model", **values)
    assert main("import", "--from", tmp_path / "model", "--workdir", tmp_path / "run", "--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["whole_model"] is True
    assert "'<extra_id_" in shown.err, "the import names the special pieces that texts do not spell"
    assert "config.decode.special_pieces=True" in shown.err
    text = "Return the first value of the list"
    options = ["--config.decode.beam_size=1", "--config.decode.max_tokens=8", "--json", text]
    tokenizer = Tokenizers.load(tmp_path / "run" / "tokenizer").source
    ids = [*tokenizer.encode_batch([text])[0].tolist(), tokenizer.eos]
    for written in (False, True):
        switch = f"--config.decode.special_pieces={written}"
        assert main("generate", "--workdir", tmp_path / "run", switch, *options) == 0
        (answer,) = json.loads(capsys.readouterr().out)
        # What an answer cannot show is not written, and padding never is.
        silent = unwritable(tokenizer, special_pieces=written)
        found = theirs.generate(
            torch.tensor([ids]), max_new_tokens=8, do_sample=False, num_beams=1, suppress_tokens=silent
        )[0].tolist()
        assert answer["code"] == tokenizer.decode(found[1:], special_pieces=written)


@pytest.mark.parametrize("kind", ["bart", "plbart"])
def test_an_imported_bart_answers_at_once_as_transformers_does(kind, tmp_path, capsys):
    theirs = write(kind, tmp_path / "model")
    assert main("import", "--from", tmp_path / "model", "--workdir", tmp_path / "run") == 0
    text = "Return the first value of the list"
    options = ["--config.decode.beam_size=1", "--config.decode.max_tokens=12", "--config.decode.no_repeat_ngram_size=2"]
    options += ["--json", text]
    capsys.readouterr()
    assert main("generate", "--workdir", tmp_path / "run", *options) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    tokenizers = Tokenizers.load(tmp_path / "run" / "tokenizer")
    source, target = tokenizers.source, tokenizers.target
    ids = [*source.before, *source.encode_batch([text])[0].tolist(), *source.after]
    assert target.start == (source.languages["code"] if kind == "plbart" else 2)
    # What an answer cannot show is not written.
    settings = {"suppress_tokens": unwritable(target), "decoder_start_token_id": target.start, "num_beams": 1}
    settings |= {"no_repeat_ngram_size": 2, "do_sample": False, "max_new_tokens": 12}
    found = theirs.generate(torch.tensor([ids]), **settings)[0].tolist()
    assert answer["code"] == target.decode(found[1:])
    assert len(set(found)) > 3, "an answer of one token would agree whatever the model"
    assert main("generate", "--workdir", tmp_path / "run", "--config.decode.max_tokens=65", text) == 2
    assert "config.decode.max_tokens=65 exceeds the decoder's 64 positions" in capsys.readouterr().err


def test_shards_and_half_precision_come_to_the_same(tmp_path):
    theirs = write("bert", tmp_path / "model")
    import_model(tmp_path / "model", Workdir(tmp_path / "whole"))
    theirs.save_pretrained(str(tmp_path / "model"), max_shard_size="20KB")
    (tmp_path / "model" / "model.safetensors").unlink(missing_ok=True)
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 2
    import_model(tmp_path / "model", Workdir(tmp_path / "shards"))
    params = restored(Workdir(tmp_path / "whole"))[2]
    assert_same(restored(Workdir(tmp_path / "shards"))[2], params)
    for dtype in (np.float16, ml_dtypes.bfloat16):
        source = tmp_path / f"model_{np.dtype(dtype).name}"
        write("bert", source)
        tensors = load_file(source / "model.safetensors")
        save_file({name: array.astype(dtype) for name, array in tensors.items()}, source / "model.safetensors")
        workdir = Workdir(tmp_path / np.dtype(dtype).name)
        import_model(source, workdir)
        widened = jax.tree.map(lambda leaf, dtype=dtype: np.asarray(leaf).astype(dtype).astype(np.float32), params)
        assert_same(restored(workdir)[2], widened)


def test_berts_oldest_names_are_read(tmp_path):
    write("bert", tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    import_model(tmp_path / "model", Workdir(tmp_path / "new"))
    tensors = load_file(path)
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {}
    for name, array in tensors.items():
        tail = ".".join(name.split(".")[-2:])
        renamed["bert." + name.removesuffix(tail) + old.get(tail, tail)] = array
    save_file(renamed, path)
    import_model(tmp_path / "model", Workdir(tmp_path / "old"))
    assert_same(restored(Workdir(tmp_path / "old"))[2], restored(Workdir(tmp_path / "new"))[2])


def test_a_second_import_does_nothing_and_another_model_needs_another_workdir(tmp_path):
    write("bert", tmp_path / "model")
    workdir = Workdir(tmp_path / "run")
    first = import_model(tmp_path / "model", workdir)
    before = {path: path.stat().st_mtime_ns for path in workdir.path.rglob("*")}
    assert json.loads(json.dumps(first)) == import_model(tmp_path / "model", workdir)
    assert {path: path.stat().st_mtime_ns for path in workdir.path.rglob("*")} == before
    write("gpt2", tmp_path / "other")
    with pytest.raises(UserError, match="holds another run or model; choose another --workdir"):
        import_model(tmp_path / "other", workdir)


def test_an_import_that_was_cut_short_is_done_anew(tmp_path):
    write("bert", tmp_path / "model")
    workdir = Workdir(tmp_path / "run")
    import_model(tmp_path / "model", workdir)
    params = flat(restored(workdir)[2])
    workdir.config.unlink()  # written last
    (workdir.checkpoints / "0" / "commit_success.txt").unlink(missing_ok=True)
    import_model(tmp_path / "model", workdir)
    assert_same(restored(workdir)[2], params)


def test_a_run_is_never_overwritten(tmp_path):
    write("bert", tmp_path / "model")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds another run or model"):
        import_model(tmp_path / "model", Workdir(run))
    assert [path.name for path in run.iterdir()] == ["config.json"]


@pytest.mark.parametrize("made", ["a directory", "a file", "by an import of another model"])
def test_checkpoints_that_it_did_not_make_are_left_alone(made, tmp_path):
    write("bert", tmp_path / "model")
    workdir = Workdir(tmp_path / "run")
    if made == "by an import of another model":
        write("gpt2", tmp_path / "other")
        import_model(tmp_path / "other", workdir)
        workdir.config.unlink()  # it was cut short
        kept = workdir.checkpoints / "0"
    else:
        kept = workdir.checkpoints / "other.pt" if made == "a directory" else workdir.checkpoints
        kept.parent.mkdir(parents=True)
        kept.write_text("precious")
    with pytest.raises(UserError, match="checkpoints' holds what no import of this model has written; choose another"):
        import_model(tmp_path / "model", workdir)
    assert kept.exists()


def test_an_imports_workdir_stays_as_it_came(tmp_path, capsys):
    write("bert", tmp_path / "model")
    assert main("import", "--from", tmp_path / "model", "--workdir", tmp_path / "run") == 0
    for verb in ("run", "mine", "tokenizer", "train", "generate", "inspect"):
        assert main(verb, "--workdir", tmp_path / "run", *(["x"] if verb == "generate" else [])) == 2
        assert "holds an imported encoder without a decoder; start a run from it" in capsys.readouterr().err


def test_import_takes_no_config(tmp_path, capsys):
    assert main("import", "--from", tmp_path, "--workdir", tmp_path / "run", "--config.seed=1") == 2
    assert "t2c import takes no --config" in capsys.readouterr().err


def edited(**values):
    """config.json with other values; None takes one out."""

    def edit(directory):
        path = directory / "config.json"
        config = {**json.loads(path.read_text()), **values}
        path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))

    return edit


def tensors(change):
    """model.safetensors with other tensors."""

    def edit(directory):
        path = directory / "model.safetensors"
        save_file(change(load_file(path)), path)

    return edit


def bytes_of(change, name="model.safetensors"):
    """A file with other bytes."""

    def edit(directory):
        path = directory / name
        path.write_bytes(change(path.read_bytes()))

    return edit


def header(text):
    """A safetensors file of this header and four bytes of data."""
    return lambda _: struct.pack("<Q", len(text)) + text + b"\0" * 4


def without(name, instead=None):
    """A file taken away, and perhaps another one put there."""

    def edit(directory):
        (directory / name).unlink()
        if instead:
            (directory / instead).write_bytes(b"\x80\x04")

    return edit


def indexed(**places):
    """An index in the place of the one file, which lies beside it as part.safetensors."""

    def edit(directory):
        (directory / "model.safetensors").rename(directory / "part.safetensors")
        (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))

    return edit


KEY = "encoder.layer.0.attention.self.key.weight"
HUGE = b'{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}'
SHAPED = b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4]}}'
HOSTILE = {
    "no config": (without("config.json"), "config.json' does not exist; --from needs a Hugging Face model"),
    "config is a list": (bytes_of(lambda _: b"[]", "config.json"), "config.json' must hold a JSON object"),
    "config is cut": (bytes_of(lambda text: text[:-9], "config.json"), "config.json' is not JSON"),
    "unknown model": (edited(model_type="berd"), "model_type='berd' cannot be imported; t5, mt5, bert, roberta"),
    "no model type": (edited(model_type=None), "model_type=None cannot be imported"),
    "width is text": (edited(hidden_size="24"), "hidden_size='24' must be a whole number"),
    "negative layers": (edited(num_hidden_layers=-2), "num_hidden_layers=-2 must be a whole number"),
    "layers past counting": (edited(num_hidden_layers=10**13), "must be a whole number from 1 to 2147483647"),
    "a million layers": (
        edited(num_hidden_layers=10**6),
        "lack the tensor 'encoder.layer.2.attention.self.query.weight'",
    ),
    "more layers": (edited(num_hidden_layers=3), "lack the tensor 'encoder.layer.2.attention.self.query.weight'"),
    "fewer layers": (
        edited(num_hidden_layers=1),
        "tensors without a place in a model of this config.json: encoder.layer.1.attention.output.LayerNorm.bias, ",
    ),
    "heads that do not divide": (edited(num_attention_heads=5), "encoder.width=24 is not divisible by its num_heads=5"),
    "another width": (edited(hidden_size=28), "embeddings.weight' is (200, 24); its config.json makes it (200, 28)"),
    "more rows": (edited(vocab_size=2**30), "vocab_size=1073741824, yet the embedding has 200 rows"),
    "other positions": (edited(max_position_embeddings=65), "is (64, 24); its config.json makes it (65, 24)"),
    "other activation": (edited(hidden_act="silu"), "hidden_act='silu' is not supported; gelu, gelu_new"),
    "relative positions": (edited(position_embedding_type="relative_key"), "position_embedding_type='relative_key'"),
    "a decoder": (edited(is_decoder=True), "is_decoder=True is not supported"),
    "epsilon": (edited(layer_norm_eps=0), "layer_norm_eps=0 must be a number above 0"),
    "a pickle": (
        without("model.safetensors", "pytorch_model.bin"),
        "holds 'pytorch_model.bin' and no safetensors; pickles and their like are never loaded",
    ),
    "no weights": (without("model.safetensors"), "holds neither 'model.safetensors' nor"),
    "cut short": (bytes_of(lambda data: data[:-100]), "is damaged or cut short"),
    "empty": (bytes_of(lambda data: b""), "is damaged or cut short"),
    "a pickle by name": (bytes_of(lambda data: b"\x80\x04" * 100), "is damaged or cut short"),
    "a header without end": (bytes_of(lambda data: struct.pack("<Q", 2**60) + data[8:]), "is damaged or cut short"),
    "a header that is no JSON": (bytes_of(header(b"{{{")), "is damaged or cut short"),
    "a shape that overflows": (bytes_of(header(HUGE)), "is damaged or cut short (overflow"),
    "a shape beyond the file": (bytes_of(header(SHAPED)), "is damaged or cut short (invalid shape"),
    "whole numbers": (
        tensors(lambda found: {**found, KEY: found[KEY].astype(np.int32)}),
        f"tensor '{KEY}' in",
    ),
    "doubles": (tensors(lambda found: {**found, KEY: found[KEY].astype(np.float64)}), "is of type F64; F32, F16, BF16"),
    "not finite": (tensors(lambda found: {**found, KEY: found[KEY] * np.nan}), "holds values that are not finite"),
    "another shape": (
        tensors(lambda found: {**found, KEY: np.zeros((24, 12), np.float32)}),
        f"tensor '{KEY}' is (24, 12); its config.json makes it (24, 24)",
    ),
    "a missing tensor": (
        tensors(lambda found: {name: array for name, array in found.items() if name != KEY}),
        f"the weights lack the tensor '{KEY}'",
    ),
    "a tensor too many": (
        tensors(lambda found: {**found, "adapter.weight": np.zeros(3, np.float32)}),
        "tensors without a place in a model of this config.json: adapter.weight",
    ),
    "a missing shard": (indexed(a="other.safetensors"), "other.safetensors' does not exist, though the model's index"),
    "a shard elsewhere": (indexed(a="../part.safetensors"), "must map tensors to files beside it"),
    "a shard that is a pickle": (indexed(a="pytorch_model.bin"), "must map tensors to files beside it"),
    "an empty index": (indexed(), "must map tensors to files beside it"),
    "a tensor that its shard lacks": (indexed(a="part.safetensors"), "part.safetensors' lacks the tensor 'a'"),
    "no tokenizer": (without("vocab.txt"), "holds no tokenizer: tokenizer.json, vocab.txt"),
    "a vocabulary without its specials": (bytes_of(lambda _: b"a\nb\n", "vocab.txt"), "the tokenizer in"),
    "a vocabulary beyond the model": (
        bytes_of(lambda text: text + b"".join(b"w%d\n" % i for i in range(99)), "vocab.txt"),
        "exceed the model's 200 embeddings",
    ),
    "a vocabulary that is no text": (bytes_of(lambda text: b"\xff\xfe" + text, "vocab.txt"), "is damaged"),
}


@pytest.fixture(scope="module")
def bert_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bert") / "model"
    write("bert", directory)
    return directory


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_directories_are_refused_in_a_line(case, bert_directory, tmp_path):
    edit, message = HOSTILE[case]
    source, workdir = tmp_path / "model", Workdir(tmp_path / "run")
    source.mkdir()
    for path in bert_directory.iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    edit(source)
    with pytest.raises(UserError) as caught:
        import_model(source, workdir)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not workdir.config.exists()
    assert not workdir.tokenizer.exists()
    assert not workdir.checkpoints.exists()


def test_a_name_of_the_hub_is_no_directory(tmp_path):
    with pytest.raises(
        UserError, match="'google/flan-t5-small' is no directory; --from wants a model that is downloaded"
    ):
        import_model(Path("google/flan-t5-small"), Workdir(tmp_path / "run"))


def test_a_vocabulary_that_is_not_the_tables_is_refused(tmp_path):
    write("t5", tmp_path / "model")
    edited(vocab_size=299)(tmp_path / "model")
    with pytest.raises(UserError, match="vocab_size=299, yet the embedding has 300 rows"):
        import_model(tmp_path / "model", Workdir(tmp_path / "run"))


@pytest.mark.parametrize("kind", ["t5", "bart", "plbart"])
def test_an_untied_copy_of_a_tied_table_is_no_tied_duplicate(kind, tmp_path):
    write(kind, tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    prefix = "" if kind == "t5" else "model."
    original = f"{prefix}shared.weight"
    copies = [f"{prefix}encoder.embed_tokens.weight", f"{prefix}decoder.embed_tokens.weight", "lm_head.weight"]
    found = load_file(path)
    same = {**found, **{name: found[original].copy() for name in copies}}
    save_file(same, path)
    import_model(tmp_path / "model", Workdir(tmp_path / "same"))
    for name in copies:
        save_file({**same, name: unequal_copy(found[original])}, path)
        with pytest.raises(
            UserError, match=f"^tensor '{re.escape(name)}' differs from '{re.escape(original)}', and by"
        ):
            import_model(tmp_path / "model", Workdir(tmp_path / "other"))
    if kind != "t5":
        save_file({**found, "final_logits_bias": np.ones((1, ROWS[kind]), np.float32)}, path)
        with pytest.raises(UserError, match=r"^tensor 'final_logits_bias' is not zero"):
            import_model(tmp_path / "model", Workdir(tmp_path / "other"))
