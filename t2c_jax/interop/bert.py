"""BERT, RoBERTa and CodeBERT from Hugging Face: config.json and tensors as ``models.pretrained.bert`` has them."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from t2c_jax.config import ModelConfig
from t2c_jax.interop.source_config import Fields
from t2c_jax.interop.tensor_table import Layout, Tensor, dense_tensors, norm_tensors
from t2c_jax.models.pretrained.config import BertConfig

# Heads for the tasks it was trained on, and buffers that hold nothing learned.
IGNORED = (
    r"^((bert|roberta)\.)?(pooler\..*|embeddings\.(position_ids|token_type_ids))$"
    r"|^(cls|lm_head|classifier|qa_outputs)\."
)
# Of heads that are left out, and of training: a run has its own dropout.
WITHOUT_EFFECT = (
    *("pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type"),
    *("hidden_dropout_prob", "attention_probs_dropout_prob", "tie_word_embeddings"),
)
ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
}
_WORDS = "embeddings.word_embeddings.weight"


def tensors(sizes: BertConfig, prefix: str = "") -> Iterator[Tensor]:
    """Every tensor of the encoder."""
    yield Tensor(prefix + _WORDS, ("encoder", "tokens"))
    yield Tensor(f"{prefix}embeddings.position_embeddings.weight", ("encoder", "positions"))
    if sizes.token_types:
        yield Tensor(f"{prefix}embeddings.token_type_embeddings.weight", ("encoder", "token_types"))
    yield from norm_tensors(f"{prefix}embeddings.LayerNorm", ("encoder", "norm"))
    for i in range(sizes.layers):
        block, theirs = ("encoder", "blocks"), f"{prefix}encoder.layer.{i}"
        for name in ("query", "key", "value"):
            ours = (*block, "attention", name)
            yield from dense_tensors(f"{theirs}.attention.self.{name}", ours, i, transposed=True)
        yield from dense_tensors(f"{theirs}.attention.output.dense", (*block, "attention", "output"), i)
        yield from norm_tensors(f"{theirs}.attention.output.LayerNorm", (*block, "attention_norm"), i)
        yield from dense_tensors(f"{theirs}.intermediate.dense", (*block, "feed_forward", "up"), i, transposed=True)
        yield from dense_tensors(f"{theirs}.output.dense", (*block, "feed_forward", "down"), i)
        yield from norm_tensors(f"{theirs}.output.LayerNorm", (*block, "feed_forward_norm"), i)


def config_from_huggingface(fields: Fields, names: Collection[str] = ()) -> ModelConfig:
    """The model section with this encoder, from config.json alone; ``names`` of tensors are not needed.

    Raises:
      UserError: a value is missing or wrong, or asks for a variant that ``models.pretrained.bert`` is not.
    """
    fields.must_be("position_embedding_type", "absolute")
    fields.must_be("is_decoder", False)
    fields.must_be("is_encoder_decoder", False)
    fields.must_be("add_cross_attention", False)
    fields.must_be("directionality", "bidi")
    fields.must_be("pruned_heads", {})
    roberta = fields.value("model_type") == "roberta"
    sizes = BertConfig(
        vocab_size=fields.integer("vocab_size"),
        width=fields.integer("hidden_size"),
        layers=fields.integer("num_hidden_layers"),
        num_heads=fields.integer("num_attention_heads"),
        feed_forward=fields.integer("intermediate_size"),
        positions=fields.integer("max_position_embeddings"),
        first_position=fields.integer("pad_token_id", 1, least=0) + 1 if roberta else 0,
        token_types=fields.integer("type_vocab_size", 2, least=0),
        activation=fields.choice("hidden_act", "gelu", ACTIVATIONS),  # type: ignore[arg-type]
        norm_epsilon=fields.positive("layer_norm_eps", 1e-12),
    )
    return ModelConfig(encoder=sizes)


def layout(config: ModelConfig, names: Collection[str]) -> Layout:
    """Where the encoder's parameters are among the checkpoint's tensors, of which ``names`` are the names."""
    prefix = next((head for head in ("bert.", "roberta.") if head + _WORDS in names), "")
    sizes = config.encoder
    assert isinstance(sizes, BertConfig)
    return Layout(prefix + _WORDS, (_as_spelt(tensor, names) for tensor in tensors(sizes, prefix)))


def _as_spelt(tensor: Tensor, names: Collection[str]) -> Tensor:
    """BERT's oldest files, made from TensorFlow's, call a norm's weight gamma and its bias beta."""
    stem, _, last = tensor.name.rpartition(".")
    old = f"{stem}.{ {'scale': 'gamma', 'bias': 'beta'}.get(tensor.path[-1], last) }"
    return tensor._replace(name=old) if tensor.name not in names and old in names else tensor
