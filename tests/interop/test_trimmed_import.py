"""``t2c import --trim-to``: fewer rows, the same answers, and the whole vocabulary again at export."""

import json
import shutil

import jax
import numpy as np
import pytest
from huggingface_models import TEXTS, gemma, write
from safetensors.numpy import load_file, save_file
from small_run import main
from tokenizers import Tokenizer

from t2c_jax.checkpoints.checkpoint import Checkpoints
from t2c_jax.checkpoints.metadata import metadata
from t2c_jax.checkpoints.pytrees import flatten
from t2c_jax.checkpoints.saved_run import SavedRun
from t2c_jax.config import MeshConfig
from t2c_jax.decode.loading import inference_mesh
from t2c_jax.decode.logits_processors import unwritable
from t2c_jax.errors import UserError
from t2c_jax.interop import t5gemma
from t2c_jax.interop.import_model import import_model
from t2c_jax.interop.source_config import model_config
from t2c_jax.interop.vocabulary_rows import rows_put_back, vocabulary_axes
from t2c_jax.models.definition import Definition
from t2c_jax.tokenizers import trimming
from t2c_jax.tokenizers.loading import load_tokenizer
from t2c_jax.tokenizers.trimming import Trimming
from t2c_jax.workdir import Workdir

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def no_filling(monkeypatch):
    monkeypatch.setattr(trimming, "_MULTIPLE", 1)


@pytest.fixture
def t5(tmp_path):
    """A T5 imported with the pieces that two texts need: theirs, the directory, the workdir."""
    theirs = write("t5", tmp_path / "model")
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(
        "".join(json.dumps({"text": f"{TEXTS[0]} {i}", "code": f"{TEXTS[1]}# {i}\n"}) + "\n" for i in range(9))
    )
    command = ("import", "--from", tmp_path / "model", "--workdir", tmp_path / "run", "--trim-to", pairs)
    assert main(*command) == 0
    return theirs, tmp_path / "model", Workdir(tmp_path / "run")


def exported(capsys, workdir, output, *arguments):
    capsys.readouterr()
    status = main("export", "--workdir", workdir.path, "--output", output, "--json", *arguments)
    shown = capsys.readouterr()
    return json.loads(shown.out) if status == 0 else shown.err.splitlines()[-1]


def test_answers_are_those_of_the_whole_model_that_writes_these_pieces(t5, capsys):
    theirs, _, workdir = t5
    tokenizer, kept = load_tokenizer(workdir.tokenizer), Trimming.read(workdir.tokenizer).ids
    assert len(kept) == tokenizer.vocab_size < 300
    text = TEXTS[0]
    (ids,) = tokenizer.encode_batch([text])
    options = [f"--config.decode.{one}" for one in ("beam_size=1", "max_tokens=12", "no_repeat_ngram_size=1")]
    capsys.readouterr()
    assert main("generate", "--workdir", workdir.path, *options, "--json", text) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    others = sorted({*range(300)} - {*kept} | {kept[i] for i in unwritable(tokenizer)})
    source = torch.tensor([[*(kept[i] for i in ids), kept[tokenizer.eos]]])
    greedy = {"max_new_tokens": 12, "do_sample": False, "num_beams": 1, "no_repeat_ngram_size": 1}
    found = theirs.generate(source, suppress_tokens=others, **greedy)
    new = {old: i for i, old in enumerate(kept)}
    assert answer["code"] == tokenizer.decode([new[i] for i in found[0].tolist()[1:]])
    assert len({*found[0].tolist()}) > 5, "an answer of one piece would tell little"


def test_export_has_the_whole_vocabulary_and_the_trained_rows(t5, tmp_path, capsys):
    _, source, workdir = t5
    run, ids = SavedRun.open(str(workdir.path)), list(Trimming.read(workdir.tokenizer).ids)
    _, params = run.restore(inference_mesh(run.definition, MeshConfig()))
    shutil.rmtree(workdir.checkpoints)
    checkpoints = Checkpoints(workdir.checkpoints, metadata(run.model, run.tokenizers.digest))
    params = jax.tree.map(lambda leaf: np.asarray(leaf) + 1, params)  # as training might
    checkpoints.save(3, {"step": np.zeros((), np.int32), "params": params}, None)
    checkpoints.close()
    result = exported(capsys, workdir, tmp_path / "out", "--to", "huggingface")
    assert result["parity"]["greedy_identical"] == result["parity"]["prompts"]
    came, went = load_file(source / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert came.keys() == went.keys()
    for name, value in came.items():
        expected = value + 1
        if name == "shared.weight":
            expected = value.copy()
            expected[ids] += 1
        np.testing.assert_array_equal(went[name], expected, err_msg=name)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["vocab_size"] == 300
    less, whole = (Tokenizer.from_file(str(path / "tokenizer.json")) for path in (workdir.tokenizer, tmp_path / "out"))
    for text in TEXTS[:2]:
        assert whole.encode(text).ids == [ids[i] for i in less.encode(text).ids]


def test_a_trimmed_model_goes_out_small_too(t5, tmp_path, capsys):
    _, source, workdir = t5
    result = exported(capsys, workdir, tmp_path / "out", "--to", "huggingface", "--vocabulary", "trimmed")
    assert result["parity"]["by"] == "transformers"
    rows = load_tokenizer(workdir.tokenizer).vocab_size
    assert load_file(tmp_path / "out" / "model.safetensors")["shared.weight"].shape[0] == rows
    moved = source.rename(tmp_path / "moved")
    line = exported(capsys, workdir, tmp_path / "again", "--to", "huggingface")
    assert "is not at" in line
    assert "say where it is with --original DIR, or export what was kept with --vocabulary trimmed" in line
    (moved / "tokenizer_config.json").write_text("{}")
    line = exported(capsys, workdir, tmp_path / "again", "--to", "huggingface", "--original", moved)
    assert "is not the model that was imported: its files have changed" in line


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_an_encoders_own_vocabulary_is_trimmed(kind, tmp_path):
    write(kind, tmp_path / "model")
    whole = import_model(tmp_path / "model", Workdir(tmp_path / "whole"))
    workdir = Workdir(tmp_path / "run")
    less = import_model(tmp_path / "model", workdir, TEXTS[:1])
    assert less["vocab_size"] < whole["vocab_size"] == less["original_vocab_size"]
    assert json.loads(workdir.config.read_text())["model"]["encoder"]["vocab_size"] == less["vocab_size"]
    assert json.loads(json.dumps(less)) == import_model(tmp_path / "model", workdir, TEXTS[:1])
    with pytest.raises(UserError, match="holds another run or model"):
        import_model(tmp_path / "model", workdir, TEXTS[:3])
    with pytest.raises(UserError, match="holds another run or model"):
        import_model(tmp_path / "model", workdir)


def test_no_text_is_no_vocabulary(tmp_path):
    write("bert", tmp_path / "model")
    with pytest.raises(UserError, match="there is no text to trim the vocabulary to"):
        import_model(tmp_path / "model", Workdir(tmp_path / "run"), [])


HALF = {
    "vocab_size": 500,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 8,
}
GEMMAS = {
    "t5gemma": ({"encoder": HALF, "decoder": HALF}, ["embedding.embedding", "encoder.embedding.embedding"]),
    "t5gemma2": (
        {"encoder": {"text_config": HALF, "eoi_token_index": 411}, "decoder": HALF},
        ["embedding.embedding"],
    ),
}


@pytest.mark.parametrize("kind", GEMMAS)
def test_all_tables_of_a_t5gemma_are_trimmed_and_put_back(kind, tmp_path):
    """T5Gemma has two; T5Gemma 2 has one, and an id in its config whose row must stay."""
    sections, tables = GEMMAS[kind]
    values = {"model_type": kind, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, **sections}
    model = model_config(t5gemma, values)
    draw = np.random.default_rng(0)
    abstract = Definition(model, 500).abstract_params()
    whole = jax.tree.map(lambda leaf: draw.standard_normal(leaf.shape).astype(np.float32), abstract)
    source = tmp_path / "model"
    source.mkdir()
    save_file(t5gemma.params_to_huggingface(model, whole), source / "model.safetensors")
    (source / "config.json").write_text(json.dumps(values))
    gemma(source)
    workdir = Workdir(tmp_path / "run")
    counts = import_model(source, workdir, TEXTS[:2])
    run, ids = SavedRun.open(str(workdir.path)), list(Trimming.read(workdir.tokenizer).ids)
    assert counts["original_vocab_size"] == 500 > counts["vocab_size"] == len(ids)
    assert model.unscaled_id == (ids[run.model.unscaled_id] if kind == "t5gemma2" else -1)
    _, params = run.restore(inference_mesh(run.definition, MeshConfig()))
    axes = vocabulary_axes(run.model, len(ids))
    assert sorted(axes) == tables
    for path, leaf in flatten(params).items():
        expected = flatten(whole)[path]
        # A norm's scale is stored less 1 there.
        np.testing.assert_allclose(leaf, expected[ids] if path in axes else expected, atol=1e-6)
    raised = jax.tree.map(lambda leaf: np.asarray(leaf) + 1, params)
    for path, leaf in flatten(rows_put_back(raised, whole, axes, ids)).items():
        expected = np.array(flatten(whole)[path])
        if path in axes:
            others = np.setdiff1d(np.arange(500), ids)
            np.testing.assert_array_equal(leaf[others], expected[others])
            np.testing.assert_array_equal(leaf[ids], flatten(raised)[path])
        else:
            np.testing.assert_array_equal(leaf, flatten(raised)[path])
