"""Prompts to the encoder's part of a batch, one prompt a row.

Letters: B batch, S source.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from t2c_jax import console
from t2c_jax.data import placeholders
from t2c_jax.data.retrieved import PromptNeighbours, Retrieved
from t2c_jax.data.templates import SourceTemplate
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.base import Tokenizer

_SHORTEST = 16  # positions; the shapes are powers of two from here, so that few programs are compiled


class EncodedPrompt(NamedTuple):
    """A prompt as the encoder will read it.

    Attributes:
      value: what ``PromptEncoder.batch`` lays out.
      size: positions that it takes; prompts of like sizes are batched together.
      truncated: it was too long and was cut; neighbours do not count.
      neighbours: training pairs of which the encoder reads at least a part, the nearest first.
      quoted: what the names in it, and in its answers, stand for (``placeholders``).
    """

    value: Any
    size: int
    truncated: bool
    neighbours: tuple[Retrieved, ...] = ()
    quoted: tuple[str, ...] = ()


class PromptEncoder(Protocol):
    """How prompts become what an encoder reads."""

    @property
    def is_quick(self) -> bool:
        """Whether a prompt is encoded by a tokenizer alone."""
        ...

    def encode(self, prompts: Sequence[str], *, special_pieces: bool = False) -> list[EncodedPrompt]:
        """Each prompt as the encoder will read it; ``special_pieces`` as in ``Tokenizer.encode_batch``."""
        ...

    def batch(self, prompts: Sequence[EncodedPrompt], rows: int, shortest: int = 0) -> dict[str, np.ndarray]:
        """The encoder's part of a batch: a row for each prompt, then empty rows; few different shapes.

        Rows have ``shortest`` positions at least, or as many as the longest row may have.
        """
        ...


class TokenPrompts:
    """Prompts as token ids: ``encoder_input_tokens``, ``encoder_segment_ids``, ``encoder_positions``, each (B, S)."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: SourceTemplate,
        length: int,
        neighbours: PromptNeighbours | None = None,
        *,
        has_placeholders: bool = False,
    ) -> None:
        """Compiles and reads nothing yet.

        Args:
          tokenizer: of sources.
          template: what is put around a prompt, as in training.
          length: tokens of a row at most, config.data.encoder_length.
          neighbours: finds the training pairs to read behind each prompt; None for none.
          has_placeholders: config.data.placeholders, of prompts that are texts.

        Raises:
          UserError: the template leaves no room for a prompt.
        """
        self._tokenizer, self._template, self._length = tokenizer, template, length
        self._neighbours, self._placeholders = neighbours, has_placeholders
        self._room = length - template.extra_tokens
        if self._room < 1:
            raise UserError(
                f"config.data.encoder_length={length} leaves no room for a source: the prefix and special tokens around"
                f" it take {template.extra_tokens}"
            )

    @property
    def is_quick(self) -> bool:
        """Whether no neighbours are looked for."""
        return self._neighbours is None

    def encode(self, prompts: Sequence[str], *, special_pieces: bool = False) -> list[EncodedPrompt]:
        """Tokens within the template.

        A prompt's own are cut to fit config.data.encoder_length, and those of neighbours to what the prompt leaves.

        Warns of prompts that spell special pieces where they are read as characters.
        """
        spelt = [piece for piece in self._tokenizer.special_pieces if any(piece in prompt for prompt in prompts)]
        if spelt and not special_pieces:
            console.warn(
                f"{', '.join(map(repr, spelt))} in a prompt is read as characters, though the tokenizer has a special"
                " piece of that name; set config.decode.special_pieces=True to read it as the piece"
            )
        found = [()] * len(prompts) if self._neighbours is None else self._neighbours.find(prompts)
        read = [placeholders.named(prompt) if self._placeholders else (prompt, ()) for prompt in prompts]
        encoded = self._tokenizer.encode_batch([text for text, _ in read], special_pieces=special_pieces)
        return [self._encoded(*each) for each in zip(encoded, found, [quoted for _, quoted in read], strict=True)]

    def _encoded(
        self, ids: np.ndarray, neighbours: Sequence[tuple[int, Retrieved]], quoted: tuple[str, ...]
    ) -> EncodedPrompt:
        own = ids[: self._room]
        if self._neighbours is None:
            value: np.ndarray = self._template(own)
            return EncodedPrompt(value, len(value), len(ids) > self._room, quoted=quoted)
        behind, read = self._neighbours.behind(neighbours, len(own) + self._template.extra_tokens)
        value = self._template(own, behind)
        return EncodedPrompt(value, len(value), len(ids) > self._room, read, quoted)

    def batch(self, prompts: Sequence[EncodedPrompt], rows: int, shortest: int = 0) -> dict[str, np.ndarray]:
        """Rows as long as the next power of two; empty ones hold a single pad, which is read as a token."""
        length = min(self._length, max(shortest, row_length(prompts)))
        sources = [prompt.value for prompt in prompts] + [np.zeros(1, np.int32)] * (rows - len(prompts))
        return self._template.arrays(sources, np.arange(rows + 1), length)


def row_length(prompts: Sequence[EncodedPrompt]) -> int:
    """The power of two that holds the longest prompt."""
    longest = max(prompt.size for prompt in prompts)
    return max(_SHORTEST, 1 << max(longest - 1, 0).bit_length())
