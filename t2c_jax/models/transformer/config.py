"""Config of the Transformers: ``transformer`` with rotary embedding, ``t5`` with T5's relative bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from t2c_jax.config.architectures import Architecture, DecoderConfig, EncoderConfig, decoders, encoders
from t2c_jax.config.fields import field
from t2c_jax.config.schema import ModelConfig
from t2c_jax.errors import UserError, nearest

Activation = Literal["gated_gelu_tanh", "gated_gelu", "gated_silu", "relu", "gelu_tanh", "gelu"]
LAYER_KINDS = ("full", "local")


@dataclass(frozen=True)
class _Shape(Architecture):
    """What all Transformers have."""

    layers: int = field(4, "Blocks.", shape=True, minimum=1)
    num_heads: int = field(8, "H: attention heads; divisible by the tensor axis.", shape=True, minimum=1)
    head_width: int = field(32, "K: width of a head; even under rotary embedding.", shape=True, minimum=1)
    feed_forward: int = field(
        1024, "F: hidden width of the feed-forward; divisible by the tensor axis.", shape=True, minimum=1
    )
    activation: Activation = field(
        "gated_gelu_tanh",
        "Feed-forward; gated ones (Shazeer 2020) have two input projections, the others one. gelu is the exact"
        " function, gelu_tanh its approximation.",
    )
    norm_epsilon: float = field(1e-6, "Added to the mean square in RMSNorm.", above=0)

    def attention_head_width(self, model: ModelConfig) -> int | None:
        """Width of an attention head."""
        return self.head_width

    def build_encoder(self, model: ModelConfig, vocab_size: int, *, rngs: Any) -> Any:
        """The encoder's module."""
        from t2c_jax.models.transformer.blocks import TransformerEncoder

        return TransformerEncoder(self, model, vocab_size, rngs=rngs)  # type: ignore[arg-type]

    def build_decoder(self, model: ModelConfig, encoder_width: int, *, rngs: Any) -> Any:
        """The decoder's module."""
        from t2c_jax.models.transformer.blocks import TransformerDecoder

        return TransformerDecoder(self, model, encoder_width, rngs=rngs)  # type: ignore[arg-type]


@dataclass(frozen=True)
class TransformerConfig(_Shape):
    """Pre-norm blocks (Vaswani et al. 2017, Xiong et al. 2020) with rotary embedding (Su et al. 2021)."""

    rope_theta: float = field(10_000.0, "Base of RoPE's wavelengths.", above=0)
    rope_scaling: float = field(
        1.0, "What positions are divided by in full layers (Chen et al. 2023, section 2.3). 1: nothing.", above=0
    )
    local_rope_theta: float = field(0.0, "Base of RoPE's wavelengths in local layers. 0: rope_theta.", minimum=0)
    layer_kinds: tuple[str, ...] = field(
        ("full",),
        "Kinds of layers, repeated from the bottom up: full, or local, whose self-attention sees the window alone"
        " (Beltagy et al. 2020, section 3.1).",
    )
    window_before: int = field(0, "Tokens before itself that a token sees in local layers.", minimum=0)
    window_after: int = field(0, "Tokens after itself that a token sees in an encoder's local layers.", minimum=0)
    kv_heads: int = field(
        0,
        "Heads of keys and values, each shared by equally many of queries (Ainslie et al. 2023). 0: num_heads.",
        shape=True,
        minimum=0,
    )
    query_key_norm: bool = field(
        False,
        "RMSNorm over each head's queries and keys, before the rotation (Dehghani et al. 2023, section 2).",
        shape=True,
    )
    attention_scale: float = field(0.0, "What attention scores are multiplied by. 0: 1/sqrt(K).", minimum=0)
    attention_softcap: float = field(
        0.0,
        "Bound c of attention scores: c tanh(score / c) (Gemma Team 2024, Gemma 2, section 2). 0: none.",
        minimum=0,
    )
    sandwich_norms: bool = field(
        False,
        "RMSNorm behind each attention and feed-forward too, before the sum with the residual stream.",
        shape=True,
    )

    scale_attention: ClassVar[bool] = True

    @property
    def score_scale(self) -> float:
        """What attention scores are multiplied by."""
        return self.attention_scale or self.head_width**-0.5

    def check(self, key: str) -> None:
        """Heads can be rotated and shared, and local layers have a window."""
        if self.head_width % 2:
            raise UserError(f"{key}.head_width={self.head_width} must be even under rotary embedding")
        if self.kv_heads and self.num_heads % self.kv_heads:
            raise UserError(f"{key}.num_heads={self.num_heads} is not divisible by its kv_heads={self.kv_heads}")
        if not self.layer_kinds:
            raise UserError(f"{key}.layer_kinds is empty; it may be full, or full and local")
        for kind in self.layer_kinds:
            if kind not in LAYER_KINDS:
                known = ", ".join(LAYER_KINDS)
                raise UserError(f"{key}.layer_kinds: {kind!r} must be one of {known}{nearest(kind, LAYER_KINDS)}")
        if "local" in self.layer_kinds and not self.window_before + self.window_after:
            raise UserError(f"{key}.layer_kinds names local, which needs {key}.window_before")

    def check_in(self, model: ModelConfig, key: str) -> None:
        """cuDNN's attention has no soft-cap."""
        if self.attention_softcap and model.attention == "cudnn":
            raise UserError(
                f"{key}.attention_softcap is not possible with config.model.attention=cudnn; set it to auto"
            )


@dataclass(frozen=True)
class T5Config(_Shape):
    """T5's blocks (Raffel et al. 2020): a learned relative bias, and attention scores that are not divided by sqrt(K).

    The defaults are this project's own sizes, not those of a published T5; ``t2c import`` reads those from its file.
    """

    relative_buckets: int = field(32, "Buckets of the relative bias.", shape=True, minimum=4)
    relative_max_distance: int = field(128, "Tokens from which all distances share one bucket.")

    scale_attention: ClassVar[bool] = False
    score_scale: ClassVar[float] = 1.0
    kv_heads: ClassVar[int] = 0
    query_key_norm: ClassVar[bool] = False
    attention_softcap: ClassVar[float] = 0.0
    sandwich_norms: ClassVar[bool] = False
    layer_kinds: ClassVar[tuple[str, ...]] = ("full",)

    def check(self, key: str) -> None:
        """Half of a decoder's buckets hold one distance each; the others must reach further."""
        if self.relative_max_distance <= self.relative_buckets // 2:
            raise UserError(
                f"{key}.relative_max_distance={self.relative_max_distance} must exceed half of"
                f" relative_buckets={self.relative_buckets}: so many hold one distance each in a decoder"
            )


@encoders.register("transformer")
@dataclass(frozen=True)
class TransformerEncoderConfig(TransformerConfig, EncoderConfig):
    """A Transformer encoder with rotary embedding."""

    width: int = field(
        0,
        "E: width of its residual stream, and of a table of token vectors of its own. 0: it shares the decoder's.",
        shape=True,
        minimum=0,
    )

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module; ``sizes`` is the vocabulary's."""
        return self.build_encoder(model, sizes[0], rngs=rngs)


@decoders.register("transformer")
@dataclass(frozen=True)
class TransformerDecoderConfig(TransformerConfig, DecoderConfig):
    """A Transformer decoder with rotary embedding."""

    merged_attention: bool = field(
        False,
        "One attention over the target so far and the source, with the same projections, in place of two (Zhang et"
        " al. 2025, T5Gemma 2, section 2).",
        shape=True,
    )

    verifies_drafts: ClassVar[bool] = True

    def check(self, key: str) -> None:
        """A target sees nothing after itself, and one projection reads both sides."""
        super().check(key)
        if self.window_after:
            raise UserError(f"{key}.window_after={self.window_after} must be 0: a decoder sees nothing after itself")

    def check_in(self, model: ModelConfig, key: str) -> None:
        """One projection reads states of both sides."""
        super().check_in(model, key)
        width = getattr(model.encoder, "width", 0) or model.width
        if self.merged_attention and width != model.width:
            raise UserError(
                f"{key}.merged_attention needs an encoder as wide as config.model.width={model.width}; it is {width}"
            )

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module; ``sizes`` are the widths of the encoder's states and summary."""
        return self.build_decoder(model, sizes[0], rngs=rngs)


@encoders.register("t5")
@dataclass(frozen=True)
class T5EncoderConfig(T5Config, EncoderConfig):
    """T5's encoder."""

    width: ClassVar[int] = 0

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module; ``sizes`` is the vocabulary's."""
        return self.build_encoder(model, sizes[0], rngs=rngs)


@decoders.register("t5")
@dataclass(frozen=True)
class T5DecoderConfig(T5Config, DecoderConfig):
    """T5's decoder."""

    verifies_drafts: ClassVar[bool] = True
    merged_attention: ClassVar[bool] = False

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module; ``sizes`` are the widths of the encoder's states and summary."""
        return self.build_decoder(model, sizes[0], rngs=rngs)


Sizes = TransformerConfig | T5Config
EncoderSizes = TransformerEncoderConfig | T5EncoderConfig
DecoderSizes = TransformerDecoderConfig | T5DecoderConfig


def window_of(sizes: Sizes) -> tuple[int, int] | None:
    """How many tokens before and after itself one sees in local layers."""
    return None if isinstance(sizes, T5Config) else (sizes.window_before, sizes.window_after)
