"""Config of published models: ``bert`` (and RoBERTa, CodeBERT), ``modernbert`` (and Ettin), ``gpt2``; ``bart``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from t2c_jax.config.architectures import Architecture, DecoderConfig, EncoderConfig, decoders, encoders
from t2c_jax.config.fields import field
from t2c_jax.config.schema import ModelConfig
from t2c_jax.errors import UserError


@dataclass(frozen=True)
class PretrainedEncoderConfig(EncoderConfig):
    """The shape of a published encoder, as config.origin has it."""

    vocab_size: int = field(30522, "Pieces of its own tokenizer.", shape=True, minimum=1)
    width: int = field(768, "E: width of its residual stream.", shape=True, minimum=1)
    layers: int = field(12, "Blocks.", shape=True, minimum=1)
    num_heads: int = field(12, "Attention heads.", shape=True, minimum=1)
    feed_forward: int = field(3072, "Hidden width of the feed-forward.", shape=True, minimum=1)
    positions: int = field(
        512, "Rows of its table of positions; more than config.origin has are initialised.", shape=True, minimum=1
    )
    activation: Literal["gelu", "gelu_tanh", "relu"] = field(
        "gelu", "Feed-forward: the exact GELU, its tanh approximation, or ReLU."
    )
    norm_epsilon: float = field(1e-12, "Added to the variance in LayerNorm.", above=0)
    mix_layers: bool = field(
        False,
        "Give the decoder a learned mix of all layers (Peters et al. 2018, equation 1) instead of the last.",
        shape=True,
        own=True,
    )

    own_tokenizer: ClassVar[bool] = True

    @property
    def max_source_length(self) -> int | None:
        """Positions that its table has for tokens."""
        return self.positions

    def attention_head_width(self, model: ModelConfig) -> int | None:
        """Width of an attention head."""
        return self.width // self.num_heads

    def check(self, key: str) -> None:
        """Heads share the width evenly."""
        if self.width % self.num_heads:
            raise UserError(f"{key}.width={self.width} is not divisible by its num_heads={self.num_heads}")


@encoders.register("bert")
@dataclass(frozen=True)
class BertConfig(PretrainedEncoderConfig):
    """BERT, RoBERTa or CodeBERT."""

    first_position: int = field(0, "Row of the first token's position: 0, or 2 in RoBERTa.", minimum=0)
    token_types: int = field(
        2, "Rows of its table of token types, of which the first is used; 0 for none.", shape=True, minimum=0
    )

    @property
    def max_source_length(self) -> int | None:
        """Positions that its table has for tokens."""
        return self.positions - self.first_position

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module."""
        from t2c_jax.models.pretrained.bert import BertEncoder

        return BertEncoder(self, model, rngs=rngs)


@encoders.register("gpt2")
@dataclass(frozen=True)
class GPT2Config(PretrainedEncoderConfig):
    """GPT-2, read as an encoder."""

    vocab_size: int = field(50257, "Pieces of its own tokenizer.", shape=True, minimum=1)
    positions: int = field(
        1024, "Rows of its table of positions; more than config.origin has are initialised.", shape=True, minimum=1
    )
    activation: Literal["gelu", "gelu_tanh", "relu"] = field(
        "gelu_tanh", "Feed-forward: the exact GELU, its tanh approximation, or ReLU."
    )
    norm_epsilon: float = field(1e-5, "Added to the variance in LayerNorm.", above=0)

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module."""
        from t2c_jax.models.pretrained.gpt2 import GPT2Encoder

        return GPT2Encoder(self, model, rngs=rngs)


@encoders.register("modernbert")
@dataclass(frozen=True)
class ModernBertConfig(PretrainedEncoderConfig):
    """ModernBERT or Ettin."""

    vocab_size: int = field(50368, "Pieces of its own tokenizer.", shape=True, minimum=1)
    layers: int = field(22, "Blocks.", shape=True, minimum=2)
    feed_forward: int = field(1152, "Hidden width of the feed-forward.", shape=True, minimum=1)
    positions: int = field(8192, "Tokens of a source at most, as it was trained.", minimum=1)
    activation: Literal["gated_gelu", "gated_gelu_tanh", "gated_silu"] = field(  # type: ignore[assignment]
        "gated_gelu", "Gated feed-forward: the exact GELU, its tanh approximation, or SiLU."
    )
    norm_epsilon: float = field(1e-5, "Added to the variance in LayerNorm.", above=0)
    layer_kinds: tuple[str, ...] = field(
        ("full", "local", "local"),
        "Kinds of layers, repeated from the bottom up: full, or local, whose attention sees the window alone.",
    )
    window: int = field(64, "Tokens before itself, and after, that a token sees in local layers.", minimum=1)
    rope_theta: float = field(160_000.0, "Base of RoPE's wavelengths in full layers.", above=0)
    local_rope_theta: float = field(10_000.0, "Base of RoPE's wavelengths in local layers.", above=0)

    # What its attention has none of (``models.attention.Attention``).
    kv_heads: ClassVar[int] = 0
    scale_attention: ClassVar[bool] = True
    query_key_norm: ClassVar[bool] = False
    attention_softcap: ClassVar[float] = 0.0

    @property
    def head_width(self) -> int:
        """Width of an attention head."""
        return self.width // self.num_heads

    @property
    def score_scale(self) -> float:
        """What attention scores are multiplied by."""
        return float(self.head_width**-0.5)

    def check(self, key: str) -> None:
        """Heads share the width evenly and can be rotated; kinds of layers are known."""
        super().check(key)
        if self.head_width % 2:
            raise UserError(f"{key}: width / num_heads = {self.head_width} must be even under rotary embedding")
        if not self.layer_kinds or set(self.layer_kinds) - {"full", "local"}:
            raise UserError(f"{key}.layer_kinds={self.layer_kinds} must be of full and local")

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module."""
        from t2c_jax.models.pretrained.modernbert import ModernBertEncoder

        return ModernBertEncoder(self, model, rngs=rngs)


@dataclass(frozen=True)
class BartConfig(Architecture):
    """One side of BART (Lewis et al. 2020) or PLBART (Ahmad et al. 2021); its width is config.model.width."""

    layers: int = field(6, "Blocks.", shape=True, minimum=1)
    num_heads: int = field(12, "H: attention heads; they share config.model.width evenly.", shape=True, minimum=1)
    feed_forward: int = field(3072, "F: hidden width of the feed-forward.", shape=True, minimum=1)
    positions: int = field(
        1024, "Rows of its table of positions; more than config.origin has are initialised.", shape=True, minimum=1
    )
    activation: Literal["gelu", "gelu_tanh", "relu"] = field(
        "gelu", "Feed-forward: the exact GELU, its tanh approximation, or ReLU."
    )

    norm_epsilon: ClassVar[float] = 1e-5

    def attention_head_width(self, model: ModelConfig) -> int | None:
        """Width of an attention head."""
        return model.width // self.num_heads

    def check_in(self, model: ModelConfig, key: str) -> None:
        """Heads share the width evenly."""
        if model.width % self.num_heads:
            raise UserError(f"config.model.width={model.width} is not divisible by {key}.num_heads={self.num_heads}")


@encoders.register("bart")
@dataclass(frozen=True)
class BartEncoderConfig(BartConfig, EncoderConfig):
    """BART's encoder."""

    @property
    def max_source_length(self) -> int | None:
        """Positions that its table has for tokens."""
        return self.positions

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module."""
        from t2c_jax.models.pretrained.bart import BartEncoder

        return BartEncoder(self, model, rngs=rngs)


@decoders.register("bart")
@dataclass(frozen=True)
class BartDecoderConfig(BartConfig, DecoderConfig):
    """BART's decoder."""

    verifies_drafts: ClassVar[bool] = True

    @property
    def max_target_length(self) -> int | None:
        """Positions that its table has for tokens."""
        return self.positions

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module; ``sizes`` are the widths of the encoder's states and summary."""
        from t2c_jax.models.pretrained.bart import BartDecoder

        return BartDecoder(self, model, sizes[0], rngs=rngs)
