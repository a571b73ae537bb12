"""Config of code2seq's encoder, ``paths``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from t2c_jax.config.architectures import EncoderConfig, encoders
from t2c_jax.config.fields import field
from t2c_jax.config.schema import ModelConfig


@encoders.register("paths")
@dataclass(frozen=True)
class PathsConfig(EncoderConfig):
    """Leaf-to-leaf paths of a syntax tree (Alon et al. 2019, section 3.2)."""

    width: int = field(512, "Hidden units of the LSTM over a path's nodes, in each direction.", shape=True, minimum=1)
    sampled: int = field(200, "Paths of an example in a batch, sampled anew each epoch.", minimum=1)
    stored: int = field(1000, "Paths of an example kept in tokens/ at most, sampled evenly from all it has.", minimum=1)
    max_length: int = field(9, "Nodes of a path at most, both leaves' parents and the top counted in.", minimum=1)
    max_width: int = field(2, "Children between a path's two branches at its top, at most.", minimum=1)
    terminal_tokens: int = field(6, "Tokens of a leaf's name at most; the rest is cut.", minimum=1)

    features: ClassVar[str] = "paths"
    has_norms: ClassVar[bool] = False
    required: ClassVar = {
        "data.pack": False,
        "model.copy": False,
        "data.direction": "code_to_text",
        "data.prefix": "",
        "data.reverse_source": False,
    }

    def build(self, model: ModelConfig, *sizes: Any, rngs: Any) -> Any:
        """The module."""
        from t2c_jax.papers.code2seq.encoder import PathEncoder

        return PathEncoder(self, model, rngs=rngs)
