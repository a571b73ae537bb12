"""What every encoder and decoder says of itself: the base classes of config.model.encoder and config.model.decoder.

An architecture is a config class beside its modules, registered under a name. The rest of the code asks the class what
it needs to know, and never for the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from t2c_jax.config.fields import Variant, VariantRegistry

if TYPE_CHECKING:
    from t2c_jax.config.schema import ModelConfig

encoders: VariantRegistry[type[EncoderConfig]] = VariantRegistry("encoder")
decoders: VariantRegistry[type[DecoderConfig]] = VariantRegistry("decoder")


class SplitSize(NamedTuple):
    """A size that a mesh axis divides: the field, its value, and the axis."""

    field: str
    size: int
    axis: str


class Architecture(Variant):
    """One side of a model.

    Attributes:
      has_norms: some of its parameters start from 1, so config.model.uniform_init does not suit it.
    """

    has_norms: ClassVar[bool] = True

    @property
    def attention_head_width(self) -> int | None:
        """Width of its attention heads; None where it has none that a fused kernel would compute."""
        return None

    def split_sizes(self) -> tuple[SplitSize, ...]:
        """Sizes that the mesh has to divide, beside config.model.width."""
        return ()

    def check_in(self, model: ModelConfig, key: str) -> None:
        """Whether it goes with the rest of the model.

        Raises:
          UserError: naming the keys and what to do.
        """

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """Its module, imported here."""
        raise NotImplementedError


class EncoderConfig(Architecture):
    """Reads the source; ``build(model, rngs=...)`` gives a ``models.interface.Encoder``.

    Attributes:
      own_tokenizer: its tokens are of a tokenizer of its own, which config.origin has, and so are their embeddings.
      features: what it reads, a name in ``registry.encoder_features``; "tokens" is ``encoder_input_tokens``.
      shape_from_origin: its shape is the one that config.origin's encoder has, but for fields that are a run's ``own``.
      required: values that other keys of the config must have, such as ``{"data.pack": False}``.
    """

    registry = encoders
    default_type = "transformer"
    own_tokenizer: ClassVar[bool] = False
    features: ClassVar[str] = "tokens"
    shape_from_origin: ClassVar[bool] = False
    required: ClassVar[Mapping[str, Any]] = {}

    @property
    def max_source_length(self) -> int | None:
        """Tokens of a source at most; None where nothing limits them."""
        return None


class DecoderConfig(Architecture):
    """Writes the target; ``build(model, encoder_width, summary_width, rngs=...)`` gives an ``interface.Decoder``."""

    registry = decoders
    default_type = "transformer"

    @property
    def starts_from_states(self) -> bool:
        """Whether its first state is the encoder's last state of every layer, rather than a summary of the source."""
        return False
