"""The tokenizers of a run, as its tokenizer stage left them.

A run has one tokenizer for both sides, unless its encoder is pre-trained and has a tokenizer of its own. Then that one
reads the sources, and the run's own writes the targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from t2c_jax.errors import UserError
from t2c_jax.tokenizers import sentencepiece as spm
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.workdir import digest

ENCODER = "encoder"
"""Directory of the encoder's own tokenizer, under the run's."""


@dataclass(frozen=True)
class Tokenizers:
    """A run's tokenizers: the one that reads sources and the one that writes targets, often the same."""

    source: Tokenizer
    target: Tokenizer
    direction: str

    @classmethod
    def load(cls, directory: Path, direction: str = "text_to_code") -> Tokenizers:
        """Reads a finished tokenizer stage.

        Raises:
          UserError: it is missing or damaged.
        """
        source, target = load_tokenizer(directory).in_direction(direction)
        own = directory / ENCODER
        return cls(load_tokenizer(own) if own.is_dir() else source, target, direction)

    @property
    def text(self) -> Tokenizer:
        """The one for texts."""
        return self.source if self.direction == "text_to_code" else self.target

    @property
    def code(self) -> Tokenizer:
        """The one for code."""
        return self.target if self.direction == "text_to_code" else self.source

    @property
    def digest(self) -> str:
        """Of both, and of which reads what."""
        if self.source.digest == self.target.digest:
            return self.target.digest
        return digest(self.source.digest, self.target.digest, self.direction)

    def copy_table(self) -> np.ndarray | None:
        """For each source id the target id of the same bytes, 0 for none; None where they are the same.

        WordPiece and byte-level pieces count without the marks of their place in a word, so a word's first piece finds
        the target's piece without the space before it.
        """
        if self.source.digest == self.target.digest:
            return None
        targets: dict[bytes, int] = {}
        for i, surface in enumerate(self.target.surfaces):
            if surface:
                targets.setdefault(surface, i)
        table = [targets.get(surface, targets.get(surface.strip(), 0)) for surface in self.source.surfaces]
        return np.array(table, np.int32)


def load_tokenizer(directory: Path) -> Tokenizer:
    """Reads ``directory/spm.model`` or ``directory/tokenizer.json``.

    Raises:
      UserError: there is none, or it is damaged.
    """
    path = Path(directory) / spm.MODEL
    try:
        if not path.exists() and (Path(directory) / "tokenizer.json").exists():
            from t2c_jax.tokenizers.huggingface import HuggingFaceTokenizer

            return HuggingFaceTokenizer(Path(directory))
        return spm.SentencePieceTokenizer(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"'{path}' does not exist; run t2c tokenizer, or t2c run") from None
    except ValueError as error:
        raise UserError(f"'{directory}' holds a damaged tokenizer: {error}; delete it and run again") from None
