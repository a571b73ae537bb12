"""A config.json may ask for a billion rows, or layers: it is refused in a line, before memory is taken."""

import json
import tracemalloc

import huggingface_models
import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from t2c_jax.errors import UserError
from t2c_jax.interop import t5gemma
from t2c_jax.interop.import_model import import_model
from t2c_jax.interop.source_config import model_config
from t2c_jax.models.definition import Definition
from t2c_jax.workdir import Workdir

pytest.importorskip("torch")
pytest.importorskip("transformers")

ROOM = 2**25  # bytes: the first trace imports modules of 4 MB; a table of a million rows would be 96 MB
HALF = {"vocab_size": 60, "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 3, "head_dim": 10}
HALF |= {"num_attention_heads": 4, "num_key_value_heads": 2}
BERT = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
BUCKETS = "relative_attention_num_buckets"
SIDES = ("encoder", "decoder")
SIZES = {
    "bert": [*BERT, "max_position_embeddings", "type_vocab_size"],
    "roberta": [*BERT, "max_position_embeddings", "type_vocab_size"],
    "modernbert": BERT,
    "gpt2": ["vocab_size", "n_embd", "n_layer", "n_head", "n_positions", "n_inner"],
    "t5": ["vocab_size", "d_model", "d_kv", "d_ff", "num_heads", "num_layers", "num_decoder_layers", BUCKETS],
    "bart": [f"{side}_{name}" for side in SIDES for name in ("layers", "attention_heads", "ffn_dim")]
    + ["vocab_size", "d_model", "max_position_embeddings"],
    "t5gemma": ["vocab_size", *(f"{side}.{name}" for side in SIDES for name in HALF)],
}


@pytest.fixture(scope="module", params=SIZES)
def directory(request, tmp_path_factory):
    """A tiny model's weights and config.json; it need not have a tokenizer to be refused."""
    path = tmp_path_factory.mktemp(request.param)
    if request.param != "t5gemma":
        huggingface_models.model(request.param).save_pretrained(str(path))
        return request.param, path
    values = {"model_type": "t5gemma", "vocab_size": 60, "encoder": dict(HALF), "decoder": dict(HALF)}
    model = model_config(t5gemma, values)
    abstract = Definition(model, 60).abstract_params()
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), abstract)
    save_file(t5gemma.params_to_huggingface(model, zeros), path / "model.safetensors")
    (path / "config.json").write_text(json.dumps(values))
    return request.param, path


@pytest.mark.parametrize("size", [10**6, 10**9])
def test_sizes_beyond_the_weights_are_refused_before_memory_is_taken(size, directory, tmp_path):
    kind, path = directory
    original = (path / "config.json").read_text()
    tracemalloc.start()
    try:
        for key in SIZES[kind]:
            values = section = json.loads(original)
            *sections, name = key.split(".")
            for each in sections:
                section = section[each]
            section[name] = size
            (path / "config.json").write_text(json.dumps(values))
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with pytest.raises(UserError) as caught:
                import_model(path, Workdir(tmp_path / "run"))
            assert "\n" not in str(caught.value), key
            assert "tokenizer" not in str(caught.value), f"{key} was not what was refused"
            assert tracemalloc.get_traced_memory()[1] - before < ROOM, key
        (path / "config.json").write_text(original)
        with pytest.raises(UserError, match="tokenizer"):  # all else is right
            import_model(path, Workdir(tmp_path / "run"))
    finally:
        (path / "config.json").write_text(original)
        tracemalloc.stop()
