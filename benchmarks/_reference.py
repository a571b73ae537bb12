"""The shape that the benchmarks agree on, as our config and as transformers' T5."""

from __future__ import annotations

from typing import Any

from t2c_jax.config import ModelConfig


def shape(*, tiny: bool, dropout: float = 0.0) -> tuple[ModelConfig, int]:
    """The reference shape, or a toy one, and its vocabulary."""
    if tiny:
        sizes = {"width": 32, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "head_width": 16}
        return ModelConfig(**sizes, feed_forward=64, scan=False, dropout=dropout), 256
    sizes = {"width": 256, "encoder_layers": 4, "decoder_layers": 4, "heads": 8, "head_width": 32}
    return ModelConfig(**sizes, feed_forward=1024, scan=False, dropout=dropout), 8192


def t5(model: ModelConfig, vocab_size: int) -> Any:
    """A ``T5ForConditionalGeneration`` of the same shape, randomly initialised."""
    import transformers

    config = transformers.T5Config(
        vocab_size=vocab_size,
        d_model=model.width,
        d_kv=model.head_width,
        d_ff=model.feed_forward,
        num_layers=model.encoder_layers,
        num_decoder_layers=model.decoder_layers,
        num_heads=model.heads,
        feed_forward_proj="gated-gelu",
        dropout_rate=model.dropout,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    return transformers.T5ForConditionalGeneration(config)
