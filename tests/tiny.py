"""A model, pairs and batches as small as a test can have them, and comparisons of trees."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from t2c_jax.config import (
    DataConfig,
    Experiment,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    decoders,
    encoders,
)
from t2c_jax.data.pipeline import Batches
from t2c_jax.data.tokens import Tokens
from t2c_jax.mesh import Workload
from t2c_jax.models.definition import Definition, names
from t2c_jax.papers.code2seq.syntax_paths import NODE_IDS
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.train import batches, initial, mesh_selection
from t2c_jax.train.setup import trainable_of
from t2c_jax.train.state import State
from t2c_jax.train.step import Compiled
from t2c_jax.workdir import Workdir

VOCABULARY = 32
BLOCKS: dict[str, Any] = {"layers": 2, "num_heads": 2, "head_width": 8, "feed_forward": 32}
SIZES: dict[str, dict[str, Any]] = {
    "transformer": BLOCKS,
    "t5": {**BLOCKS, "relative_buckets": 8, "relative_max_distance": 16},
    "lstm": {"layers": 2, "width": 12},
    "gru": {"layers": 2, "width": 12},
    "bert": {**BLOCKS, "vocab_size": 40, "width": 24, "feed_forward": 48, "positions": 32, "head_width": None},
    "gpt2": {**BLOCKS, "vocab_size": 40, "width": 24, "feed_forward": 48, "positions": 32, "head_width": None},
    "modernbert": {**BLOCKS, "vocab_size": 40, "width": 24, "feed_forward": 20, "window": 2, "head_width": None},
    "bart": {"layers": 2, "num_heads": 2, "feed_forward": 32, "positions": 64},
    "paths": {"width": 12},
}


def encoder(type: str = "transformer", **fields: Any) -> Any:
    """A tiny encoder's config."""
    return _architecture(encoders, type, fields)


def decoder(type: str = "transformer", **fields: Any) -> Any:
    """A tiny decoder's config."""
    return _architecture(decoders, type, fields)


def _architecture(registry: Any, type: str, fields: dict[str, Any]) -> Any:
    known = registry.get(type, "type")
    values = {name: value for name, value in SIZES[type].items() if name in known.__dataclass_fields__}
    return known(**{**values, **fields})


def both(type: str = "transformer", **fields: Any) -> dict[str, Any]:
    """An encoder and a decoder of one type and shape, for ``ModelConfig`` or ``replace``."""
    return {"encoder": encoder(type, **fields), "decoder": decoder(type, **fields)}


def reshaped(model: ModelConfig, **fields: Any) -> ModelConfig:
    """The model with these values in both of its sides."""
    return replace(
        model,
        encoder=replace(model.encoder, **fields),
        decoder=replace(model.decoder, **fields),  # type: ignore[type-var]
    )


MODEL = ModelConfig(**both(), width=16, dropout=0.0)
T5 = replace(MODEL, **both("t5"))
SHARED: dict[str, Any] = {"num_heads": 4, "kv_heads": 2, "head_width": 6, "layers": 3, "sandwich_norms": True}
# As T5Gemma 2 has them: patterns of a period and a rest, and windows that are narrower than rows.
MERGED = ModelConfig(
    encoder=encoder(
        **SHARED,
        layer_kinds=("local", "local", "full"),
        rope_scaling=4.0,
        local_rope_theta=30.0,
        query_key_norm=True,
        window_before=1,
        window_after=2,
    ),
    decoder=decoder(
        **{**SHARED, "layers": 5},
        layer_kinds=("local", "full"),
        local_rope_theta=30.0,
        query_key_norm=True,
        window_before=2,
        merged_attention=True,
    ),
    width=16,
    dropout=0.0,
    scale_embeddings=True,
    scale_tied_output=False,
    unscaled_id=5,
)
# As T5Gemma has them: an encoder with a table and a width of its own, and soft-caps that bite.
CAPPED = ModelConfig(
    encoder=encoder(
        **{**SHARED, "kv_heads": 1},
        layer_kinds=("local", "full"),
        window_before=2,
        window_after=2,
        width=24,
        attention_scale=0.7,
        attention_softcap=1.0,
    ),
    decoder=decoder(
        **SHARED, layer_kinds=("local", "full"), window_before=2, attention_scale=0.7, attention_softcap=1.0
    ),
    width=16,
    dropout=0.0,
    scale_embeddings=True,
    scale_tied_output=False,
    logit_softcap=5.0,
)
DATA = DataConfig(encoder_length=16, decoder_length=24, batch_size=8, packing_pool=64)
EXPERIMENT = Experiment(
    data=DATA,
    model=MODEL,
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=2),
    train=TrainConfig(steps=10, loss_chunk_tokens=32),
    mesh=MeshConfig(data=1, fsdp=1, tensor=1),
)


def experiment(**sections: dict[str, Any]) -> Experiment:
    """The tiny experiment with some values changed, by section."""
    changed = {name: replace(getattr(EXPERIMENT, name), **values) for name, values in sections.items()}
    return replace(EXPERIMENT, **changed)


def pairs(count: int = 40, seed: int = 0, text: int = 6, code: int = 9, vocabulary: int = VOCABULARY) -> Tokens:
    """Random pairs of 1 to ``text`` and 1 to ``code`` tokens, without eos."""
    draw = np.random.default_rng(seed)
    texts = [draw.integers(3, vocabulary, draw.integers(1, text + 1)).tolist() for _ in range(count)]
    codes = [draw.integers(3, vocabulary, draw.integers(1, code + 1)).tolist() for _ in range(count)]
    return Tokens.of(texts, codes, [str(i) for i in range(count)])


def batch(data: DataConfig = DATA, step: int = 0, tokens: Tokens | None = None) -> dict[str, np.ndarray]:
    """A batch of random pairs."""
    return Batches.of(pairs() if tokens is None else tokens, data, 0).batch(step)


def random_paths(
    rows: int = 2, paths: int = 5, nodes: int = 4, tokens: int = 3, vocabulary: int = VOCABULARY
) -> dict[str, np.ndarray]:
    """Paths and terminals of random lengths, at least 1; the last row has one path less."""
    draw = np.random.default_rng(0)

    def ragged(top: int, length: int) -> np.ndarray:
        values = draw.integers(1, top, (rows, paths, length))
        lengths = draw.integers(1, length + 1, (rows, paths, 1))
        return np.where(np.arange(length) < lengths, values, 0).astype(np.int32)

    batch = {
        "path_start_tokens": ragged(vocabulary, tokens),
        "path_nodes": ragged(NODE_IDS, nodes),
        "path_end_tokens": ragged(vocabulary, tokens),
        "encoder_segment_ids": np.ones((rows, paths), np.int32),
    }
    for value in batch.values():
        value[-1, -1] = 0
    return batch


def drawn(config: ModelConfig = MODEL, seed: int = 0, vocabulary: int = VOCABULARY) -> tuple[Definition, Any]:
    """A model and its freshly drawn parameters; how it is run does not matter to what is drawn."""
    shape = replace(config, scan=True, remat="none", dropout=0.0, dtype="float32")
    return Definition(config, vocabulary), jax.tree.map(lambda leaf: leaf, _drawn(shape, seed, vocabulary))


@functools.cache
def _drawn(config: ModelConfig, seed: int, vocabulary: int) -> Any:
    return Definition(config, vocabulary).init(jax.random.key(seed))  # see op_by_op


def make_mesh(config: Experiment, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh of a run's training."""
    definition = Definition(config.model, config.tokenizer.vocab_size)
    held = functools.partial(state_bytes, config)
    return mesh_selection.make_mesh(config.mesh, definition, held, config.data, config.train, devices)


def workload(config: Experiment, held: int = 0) -> Workload:
    """What its mesh has to hold and to split."""
    definition = Definition(config.model, config.tokenizer.vocab_size)
    return mesh_selection.workload(definition, config.data, config.train, held)


def state_bytes(config: Experiment) -> int:
    """Bytes of its train state."""
    return trainable_of(config, Definition(config.model, config.tokenizer.vocab_size)).nbytes()


def compiled_on(
    mesh: Mesh, config: Experiment = EXPERIMENT, vocabulary: int = VOCABULARY, modules: Collection[str] = ()
) -> Compiled:
    """The functions of its training; ``modules`` train in full beside adapters."""
    return Compiled(
        trainable_of(config, Definition(config.model, vocabulary), modules), config.train, config.data, mesh
    )


def open_data(config: Experiment, workdir: Workdir, tokenizers: Tokenizers, mesh: Mesh) -> batches.Data:
    """Its batches."""
    options = {"seed": config.seed, "idf_weight": config.train.idf_weight}
    return batches.open_data(workdir, tokenizers, config.data, config.model, mesh, **options)


def initial_state(config: Experiment, compiled: Compiled, tokenizer: Tokenizer | None = None) -> State:
    """The state that it starts from."""
    return initial.initial_state(compiled, config.origin, config.data, config.lora, tokenizer)


def one_device(config: Experiment = EXPERIMENT) -> Mesh:
    """A mesh of a single device."""
    return make_mesh(config, jax.devices()[:1])


def flat(tree: Any) -> dict[str, np.ndarray]:
    """Leaves by dotted path, on the host."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {".".join(names(path)): np.asarray(jax.device_get(leaf)) for path, leaf in leaves}


def assert_close(one: Any, other: Any, *, tolerance: float) -> None:
    """Every leaf's largest difference is at most ``tolerance`` times the largest value of that leaf."""
    found, expected = flat(one), flat(other)
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        scale = max(float(np.abs(value).max(initial=0.0)), 1e-6)
        np.testing.assert_allclose(found[path], value, rtol=0, atol=tolerance * scale, err_msg=path)


def assert_same(one: Any, other: Any) -> None:
    """Equal bit for bit, dtypes and names too."""
    found, expected = flat(one), flat(other)
    assert found.keys() == expected.keys()
    for path, value in expected.items():
        assert found[path].dtype == value.dtype, path
        np.testing.assert_array_equal(found[path], value, err_msg=path)


def on_device(values: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """A batch as arrays of the default device."""
    return {name: jnp.asarray(value) for name, value in values.items()}


def row(sequences: Sequence[Sequence[int]], length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, segment ids and positions of one row that holds ``sequences`` end to end."""
    tokens, segments, positions = np.zeros((3, 1, length), np.int32)
    place = 0
    for number, sequence in enumerate(sequences, 1):
        here = slice(place, place + len(sequence))
        tokens[0, here], segments[0, here], positions[0, here] = sequence, number, np.arange(len(sequence))
        place += len(sequence)
    return tokens, segments, positions


def mixture(prediction: Any, logits: jax.Array) -> jax.Array:
    """The log-probabilities of a prediction over the whole vocabulary, written out."""
    log_p = jax.nn.log_softmax(logits, axis=-1)
    copying = prediction.copying
    if copying is None:
        return log_p
    held = jax.nn.one_hot(copying.tokens_BS, logits.shape[-1])
    copied = jnp.exp(copying.log_point_BT)[..., None] * jnp.einsum("bts,bsv->btv", copying.attention_BTS, held)
    return jnp.log(jnp.exp(log_p + copying.log_generate_BT[..., None]) + copied)


def nested_collectives(compiled: Any) -> list[str]:
    """The collectives of a compiled program that are in a loop or a branch of it."""
    text: str = compiled.as_text()
    nested = text[: text.index("\nENTRY ")]
    return re.findall(r" (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)\(", nested)
