"""The common ground of the benchmarks: the model's shape, as our config and as transformers' T5, and training pairs."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from t2c_jax import config as configs
from t2c_jax.config import DataConfig, Experiment, ModelConfig
from t2c_jax.data.tokens import Tokens
from t2c_jax.models.transformer.config import TransformerDecoderConfig, TransformerEncoderConfig

PRETRAIN = Path(__file__).resolve().parents[1] / "configs" / "pretrain.py"
SIZES = ("reference", "small", "base", "large")


def size_option(parser: argparse.ArgumentParser) -> None:
    """Which model."""
    parser.add_argument(
        "--size", choices=SIZES, default="reference", help="reference, or configs/pretrain.py's (default: %(default)s)"
    )


def shape(*, tiny: bool, dropout: float = 0.0, size: str = "reference") -> tuple[ModelConfig, int]:
    """The reference shape, a toy one or a preset's, and its vocabulary."""
    if size != "reference":
        preset = configs.load(f"{PRETRAIN}:{size}")
        return replace(preset.model, dropout=dropout), preset.tokenizer.vocab_size
    if tiny:
        blocks = {"layers": 1, "num_heads": 2, "head_width": 16, "feed_forward": 64}
        return ModelConfig(**both(blocks), width=32, scan=False, dropout=dropout), 256
    blocks = {"layers": 4, "num_heads": 8, "head_width": 32, "feed_forward": 1024}
    return ModelConfig(**both(blocks), width=256, scan=False, dropout=dropout), 8192


def both(blocks: dict[str, Any]) -> dict[str, Any]:
    """A Transformer's two sides of one shape, for ``ModelConfig``."""
    return {"encoder": TransformerEncoderConfig(**blocks), "decoder": TransformerDecoderConfig(**blocks)}


def with_layers(model: ModelConfig, layers: int) -> ModelConfig:
    """The model with so many layers on each side."""
    sides: dict[str, Any] = {"encoder": model.encoder, "decoder": model.decoder}
    return replace(model, **{side: replace(section, layers=layers) for side, section in sides.items()})


def t5(model: ModelConfig, vocab_size: int) -> Any:
    """A ``T5ForConditionalGeneration`` of the same shape, randomly initialised."""
    import transformers

    encoder: Any = model.encoder
    decoder: Any = model.decoder
    settings: dict[str, Any] = {
        "vocab_size": vocab_size,
        "d_model": model.width,
        "d_kv": encoder.head_width,
        "d_ff": encoder.feed_forward,
        "num_layers": encoder.layers,
        "num_decoder_layers": decoder.layers,
        "num_heads": encoder.num_heads,
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": model.dropout,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }
    return transformers.T5ForConditionalGeneration(transformers.T5Config(**settings))


def workdir_option(parser: argparse.ArgumentParser) -> None:
    """Where pairs are found."""
    parser.add_argument("--workdir", type=Path, default=Path("runs/quickstart"), help="a run's (default: %(default)s)")


def workdir_experiment(options: argparse.Namespace) -> Experiment:
    """The workdir's config, or a toy one."""
    if not options.tiny:
        return configs.load(str(options.workdir / "config.json"))
    rows = DataConfig(encoder_length=16, decoder_length=24, batch_size=4, pairs_in_row=1)
    return Experiment(data=rows, model=shape(tiny=True)[0])


def workdir_pairs(options: argparse.Namespace) -> Tokens:
    """The workdir's training pairs, or a few random ones."""
    if not options.tiny:
        return Tokens.open(options.workdir / "tokens", "train")
    draw = np.random.default_rng(0)
    texts, codes = ([draw.integers(3, 256, size).tolist() for size in draw.integers(2, 8, 64)] for _ in range(2))
    return Tokens.of(texts, codes, [str(i) for i in range(64)])
