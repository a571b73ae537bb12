"""Config of the recurrent encoders and decoders: ``lstm`` and ``gru``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from t2c_jax.config.architectures import DecoderConfig, EncoderConfig, decoders, encoders
from t2c_jax.config.fields import field
from t2c_jax.config.schema import ModelConfig
from t2c_jax.errors import UserError


@dataclass(frozen=True)
class RecurrentEncoderConfig(EncoderConfig):
    """Recurrent layers over the source, one way or both."""

    layers: int = field(1, "Recurrent layers.", shape=True, minimum=1)
    width: int = field(512, "Hidden units of a layer, in each direction.", shape=True, minimum=1)
    bidirectional: bool = field(True, "Read both ways.", shape=True)

    has_norms: ClassVar[bool] = False

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module."""
        from t2c_jax.models.recurrent import encoder

        classes = {"lstm": encoder.LSTMEncoder, "gru": encoder.GRUEncoder}
        return classes[self.type](self, model, rngs=rngs)


@dataclass(frozen=True)
class RecurrentDecoderConfig(DecoderConfig):
    """Recurrent layers that write the target, with attention over the source or without."""

    layers: int = field(1, "Recurrent layers.", shape=True, minimum=1)
    width: int = field(512, "Hidden units of a layer.", shape=True, minimum=1)
    attention: Literal["none", "additive", "multiplicative"] = field(
        "multiplicative",
        "How it reads the source: from the encoder's last state alone (Sutskever et al. 2014), by additive attention "
        "(Bahdanau et al. 2015) or by multiplicative attention (Luong et al. 2015, 'general').",
        shape=True,
    )
    input_feeding: bool = field(
        True, "Feed each step the attentional state of the step before (Luong et al. 2015, section 3.3).", shape=True
    )
    bridge: Literal["dense", "copy"] = field(
        "dense", "Its first states: a tanh layer over the source's summary, or the encoder's own states.", shape=True
    )

    has_norms: ClassVar[bool] = False

    @property
    def starts_from_states(self) -> bool:
        """Whether its first state is the encoder's last state of every layer, rather than a summary of the source."""
        return self.bridge == "copy"

    def check(self, key: str) -> None:
        """Input feeding feeds what attention makes."""
        if self.attention == "none" and self.input_feeding:
            raise UserError(f"{key}.input_feeding needs attention; set input_feeding=False")

    def check_in(self, model: ModelConfig, key: str) -> None:
        """States can be copied between equal layers that read one way."""
        encoder = model.encoder
        if self.starts_from_states and not (
            isinstance(encoder, RecurrentEncoderConfig)
            and (encoder.type, encoder.layers, encoder.width) == (self.type, self.layers, self.width)
            and not encoder.bidirectional
        ):
            raise UserError(
                f"{key}.bridge=copy needs an encoder of the decoder's type, with as many layers of the same width,"
                " reading one way (bidirectional=False); or set bridge=dense"
            )

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module; ``sizes`` are the widths of the encoder's states and summary."""
        from t2c_jax.models.recurrent import decoder

        classes = {"lstm": decoder.LSTMDecoder, "gru": decoder.GRUDecoder}
        return classes[self.type](self, model, *sizes, rngs=rngs)


@encoders.register("lstm")
@dataclass(frozen=True)
class LSTMEncoderConfig(RecurrentEncoderConfig):
    """LSTM layers over the source."""


@encoders.register("gru")
@dataclass(frozen=True)
class GRUEncoderConfig(RecurrentEncoderConfig):
    """GRU layers over the source."""


@decoders.register("lstm")
@dataclass(frozen=True)
class LSTMDecoderConfig(RecurrentDecoderConfig):
    """LSTM layers that write the target."""


@decoders.register("gru")
@dataclass(frozen=True)
class GRUDecoderConfig(RecurrentDecoderConfig):
    """GRU layers that write the target."""
