"""Config of the Transformers: ``transformer`` with rotary embedding, ``t5`` with T5's relative bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from t2c_jax.config.architectures import Architecture, DecoderConfig, EncoderConfig, decoders, encoders
from t2c_jax.config.fields import field
from t2c_jax.config.schema import ModelConfig
from t2c_jax.errors import UserError

Activation = Literal["gated_gelu_tanh", "gated_gelu", "gated_silu", "relu", "gelu_tanh", "gelu"]


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

    @property
    def attention_head_width(self) -> int | None:
        """Width of an attention head."""
        return self.head_width

    def build_encoder(self, model: ModelConfig, *, rngs: Any) -> Any:
        """The encoder's module."""
        from t2c_jax.models.transformer.blocks import TransformerEncoder

        return TransformerEncoder(self, model, rngs=rngs)  # type: ignore[arg-type]

    def build_decoder(self, model: ModelConfig, encoder_width: int, *, rngs: Any) -> Any:
        """The decoder's module."""
        from t2c_jax.models.transformer.blocks import TransformerDecoder

        return TransformerDecoder(self, model, encoder_width, rngs=rngs)  # type: ignore[arg-type]


@dataclass(frozen=True)
class TransformerConfig(_Shape):
    """Pre-norm blocks (Vaswani et al. 2017, Xiong et al. 2020) with rotary embedding (Su et al. 2021)."""

    rope_theta: float = field(10_000.0, "Base of RoPE's wavelengths.", above=0)

    scale_attention: ClassVar[bool] = True

    def check(self, key: str) -> None:
        """Rotary embedding rotates pairs of a head's numbers."""
        if self.head_width % 2:
            raise UserError(f"{key}.head_width={self.head_width} must be even under rotary embedding")


@dataclass(frozen=True)
class T5Config(_Shape):
    """T5's blocks (Raffel et al. 2020): a learned relative bias, and attention scores that are not divided by sqrt(K).

    The defaults are this project's own sizes, not those of a published T5; ``t2c import`` reads those from its file.
    """

    relative_buckets: int = field(32, "Buckets of the relative bias.", shape=True, minimum=4)
    relative_max_distance: int = field(128, "Tokens from which all distances share one bucket.")

    scale_attention: ClassVar[bool] = False

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

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module."""
        return self.build_encoder(model, rngs=rngs)


@decoders.register("transformer")
@dataclass(frozen=True)
class TransformerDecoderConfig(TransformerConfig, DecoderConfig):
    """A Transformer decoder with rotary embedding."""

    verifies_drafts: ClassVar[bool] = True

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module; ``sizes`` are the widths of the encoder's states and summary."""
        return self.build_decoder(model, sizes[0], rngs=rngs)


@encoders.register("t5")
@dataclass(frozen=True)
class T5EncoderConfig(T5Config, EncoderConfig):
    """T5's encoder."""

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module."""
        return self.build_encoder(model, rngs=rngs)


@decoders.register("t5")
@dataclass(frozen=True)
class T5DecoderConfig(T5Config, DecoderConfig):
    """T5's decoder."""

    verifies_drafts: ClassVar[bool] = True

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module; ``sizes`` are the widths of the encoder's states and summary."""
        return self.build_decoder(model, sizes[0], rngs=rngs)
