"""config.model: what every encoder and decoder says of itself, and what both sides of a model share.

An architecture is a config class next to its modules, registered under a name. The rest of the code asks the class what
it needs to know, and never for the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from t2c_jax.config.fields import Section, Variant, VariantRegistry, field
from t2c_jax.errors import UserError, nearest

encoders: VariantRegistry[type[EncoderConfig]] = VariantRegistry("encoder")
decoders: VariantRegistry[type[DecoderConfig]] = VariantRegistry("decoder")


class Architecture(Variant):
    """One side of a model.

    Attributes:
      has_norms: some of its parameters start from 1, so config.model.uniform_init does not suit it.
    """

    has_norms: ClassVar[bool] = True

    def attention_head_width(self, model: ModelConfig) -> int | None:
        """Width of its attention heads; None where it has none that a fused kernel would compute."""
        return None

    def check_in(self, model: ModelConfig, key: str) -> None:
        """Whether it goes with the rest of the model.

        Raises:
          UserError: naming the keys and what to do.
        """

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """Its module, imported here."""
        raise NotImplementedError


class EncoderConfig(Architecture):
    """Reads the source; ``build(model, vocab_size, rngs=...)`` gives a ``models.interface.Encoder``.

    Attributes:
      own_tokenizer: its tokens are of a tokenizer of its own, which config.origin has, and so are their embeddings.
      features: what it reads, a name in ``registry.encoder_features``; "tokens" is ``encoder_input_tokens``.
      required: values that other keys of the config must have, such as ``{"data.pack": False}``.
    """

    registry = encoders
    default_type = "transformer"
    own_tokenizer: ClassVar[bool] = False
    features: ClassVar[str] = "tokens"
    required: ClassVar[Mapping[str, Any]] = {}

    @property
    def max_source_length(self) -> int | None:
        """Tokens of a source at most; None where nothing limits them."""
        return None


class DecoderConfig(Architecture):
    """Writes the target; ``build(model, encoder_width, summary_width, rngs=...)`` gives an ``interface.Decoder``.

    Attributes:
      verifies_drafts: a step may read several tokens of one answer, each after those before it.
    """

    registry = decoders
    default_type = "transformer"
    verifies_drafts: ClassVar[bool] = False

    @property
    def max_target_length(self) -> int | None:
        """Tokens of a target at most; None where nothing limits them."""
        return None

    @property
    def starts_from_states(self) -> bool:
        """Whether its first state is the encoder's last state of every layer, rather than a summary of the source."""
        return False


@dataclass(frozen=True)
class ModelConfig(Section):
    """An encoder, a decoder, and what both share."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig.default, doc="Reads the source.")
    decoder: DecoderConfig = field(default_factory=DecoderConfig.default, doc="Writes the target.")
    width: int = field(
        256, "D: width of embeddings, of Transformers' residual streams, and of decoder states.", shape=True, minimum=1
    )
    copy: bool = field(
        False,
        "Let the decoder point at source tokens and copy them (See et al. 2017, section 2.2).",
        shape=True,
        own=True,
    )
    tied_embeddings: bool = field(
        True, "One table for the encoder's, the decoder's and the output's embedding.", shape=True
    )
    scale_tied_output: bool = field(
        True, "With a tied table, scale decoder states by 1/sqrt(D) before the logits (T5)."
    )
    scale_embeddings: bool = field(
        False, "Multiply token vectors by sqrt(D) where the model reads them (Vaswani et al. 2017, section 3.4)."
    )
    unscaled_id: int = field(
        -1,
        "Id of a token that is read as a vector of its own, unscaled (T5Gemma 2's end of an image). -1: none.",
        minimum=-1,
    )
    logit_softcap: float = field(
        0.0, "Bound c of the logits: c tanh(logit / c) (Gemma Team 2024, Gemma 2, section 2). 0: none.", minimum=0
    )
    output_heads: tuple[str, ...] = field(
        (),
        "Heads over the encoder's states: tagging (of identifiers), embedding (of texts and code).",
        shape=True,
        own=True,
    )
    embedding_width: int = field(256, "Width of the embedding head's vectors.", shape=True, minimum=1)
    dropout: float = field(0.1, "Dropout rate.", execution=True, minimum=0, below=1)
    uniform_init: float = field(
        0.0,
        "Initialise every weight from U(-a, a) (Sutskever et al. 2014, section 3.4); 0 uses normals by their fan-in.",
        execution=True,
        minimum=0,
    )
    attention: Literal["auto", "xla", "cudnn", "pallas"] = field(
        "auto",
        "Attention kernel: xla is the plain formula, cudnn is for GPUs, pallas for TPUs (interpreted on a CPU, for "
        "tests). auto selects by platform, and xla where the kernel of the platform does not fit.",
        execution=True,
    )
    scan: bool = field(
        True,
        "Scan over one compiled block. Unrolled blocks compile slower and run faster on CPUs.",
        execution=True,
    )
    remat: Literal["none", "dots", "full"] = field(
        "none",
        "What the backward pass recomputes, besides attention weights and activation functions: nothing, everything but"
        " the projections from the residual stream, or whole blocks.",
        execution=True,
    )
    dtype: Literal["float32", "bfloat16"] = field(
        "float32", "Compute dtype. Parameters are always float32.", execution=True
    )

    def check(self, key: str) -> None:
        """The two sides fit each other and the kernels."""
        self.encoder.check_in(self, f"{key}.encoder")
        self.decoder.check_in(self, f"{key}.decoder")
        if self.uniform_init and (self.encoder.has_norms or self.decoder.has_norms):
            raise UserError(f"{key}.uniform_init is for recurrent encoders and decoders; norms start from 1")
        if self.attention == "cudnn":
            self._check_cudnn(key)
        heads = ("tagging", "embedding")
        for name in self.output_heads:
            if name not in heads:
                raise UserError(f"{key}.output_heads: {name!r} must be one of {', '.join(heads)}{nearest(name, heads)}")

    def _check_cudnn(self, key: str) -> None:
        """What cuDNN's attention cannot compute on any GPU."""
        if self.dtype != "bfloat16":
            raise UserError(f"{key}.attention=cudnn needs {key}.dtype=bfloat16, not {self.dtype}")
        for side, width in (
            ("encoder", self.encoder.attention_head_width(self)),
            ("decoder", self.decoder.attention_head_width(self)),
        ):
            if width is not None and (width % 8 or width > 128):
                raise UserError(
                    f"{key}.attention=cudnn needs heads whose width is a multiple of 8 and at most 128; those of"
                    f" {key}.{side} are {width} wide: set attention to auto"
                )
