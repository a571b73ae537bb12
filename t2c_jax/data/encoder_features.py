"""What an encoder reads of a pair: where it is stored, how it lies in training batches, how prompts become it.

Most encoders read tokens (``TokenFeatures``). One that reads something else registers its own ``EncoderFeatures`` under
the name that its config gives (``papers.code2seq`` is an example): the stages and the generator ask for it here and
know no encoder by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from t2c_jax.config import DataConfig, ModelConfig, registry
from t2c_jax.data.prompt_encoder import PromptEncoder, TokenPrompts
from t2c_jax.data.retrieved import PromptNeighbours
from t2c_jax.data.templates import SourceTemplate
from t2c_jax.data.tokens import Tokens
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.tokenizers.loading import Tokenizers

Columns = Mapping[str, Sequence[np.ndarray]]


class SourceRows(Protocol):
    """How the sources of a split lie in the rows of training batches.

    Attributes:
      length: positions of a row.
      key: the config key of ``length``, for messages.
    """

    length: int
    key: str

    def lengths(self, records_N: np.ndarray, tokens_N: np.ndarray) -> np.ndarray:
        """Positions that each example takes, given its record and the tokens of its source; an example that takes more
        than ``length`` is dropped."""
        ...

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of a row of each array; all are int32."""
        ...

    def arrays(
        self, sources: Sequence[np.ndarray], starts: np.ndarray, records: np.ndarray, epochs: np.ndarray, seed: int
    ) -> dict[str, np.ndarray]:
        """The encoder's arrays of some rows.

        Args:
          sources: encoder tokens of each source, as the task makes them.
          starts: row r holds the sources from ``starts[r]`` to ``starts[r + 1]``.
          records: the record of each source.
          epochs: the epoch that each is read in; with ``seed`` the key of whatever is sampled.
          seed: of the run, 0 in evaluation.
        """
        ...


class EncoderFeatures(Protocol):
    """What an encoder reads; made of a config alone.

    Attributes:
      stored_settings: the settings that decide what the tokens stage stores beside tokens; empty for nothing.
    """

    stored_settings: Mapping[str, Any]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of a row of each array of a training batch; all are int32."""
        ...

    def column_types(self, tokenizer: Tokenizer) -> Mapping[str, type[np.unsignedinteger]]:
        """The ragged arrays that the tokens stage stores beside tokens, by name."""
        ...

    def encode(self, codes: Sequence[str], tokenizer: Tokenizer) -> tuple[Columns, Counter[str]]:
        """An item of each stored array for each code, and counts for the manifest."""
        ...

    def rows(self, tokens: Tokens, template: SourceTemplate) -> SourceRows:
        """The training side, over a split's tokens.

        Raises:
          UserError: the tokens stage did not store what this reads.
        """
        ...

    def prompts(
        self, tokenizers: Tokenizers, template: SourceTemplate, neighbours: PromptNeighbours | None = None
    ) -> PromptEncoder:
        """The generation side, with the training pairs to read behind each prompt where there are any.

        Raises:
          UserError: the rows have no room for a source.
        """
        ...

    def statistics(self, tokens: Tokens) -> list[tuple[str, str]]:
        """Lines about what is stored, for people; none where that is tokens alone."""
        ...


class TokenRows:
    """Tokens, packed: ``encoder_input_tokens``, ``encoder_segment_ids``, ``encoder_positions``, each (B, S)."""

    key = "data.encoder_length"

    def __init__(self, length: int, template: SourceTemplate) -> None:
        self.length, self._template = length, template

    def lengths(self, records_N: np.ndarray, tokens_N: np.ndarray) -> np.ndarray:
        """The tokens themselves."""
        return tokens_N

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """(S) each; ``encoder_copy_tokens`` where sources are copied by a table."""
        return self._template.shapes(self.length)

    def arrays(
        self, sources: Sequence[np.ndarray], starts: np.ndarray, records: np.ndarray, epochs: np.ndarray, seed: int
    ) -> dict[str, np.ndarray]:
        """Sources end to end; nothing is sampled."""
        return self._template.arrays(sources, starts, self.length)


class TokenFeatures:
    """The features of encoders that read tokens; the tokens stage stores nothing more for them."""

    def __init__(self, data: DataConfig, model: ModelConfig) -> None:
        self._data, self._copies_by_table = data, model.copy and model.encoder.own_tokenizer
        self.stored_settings: Mapping[str, Any] = {}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """(S) each."""
        table = np.zeros(0, np.int32) if self._copies_by_table else None
        return SourceTemplate(copy_table=table).shapes(self._data.encoder_length)

    def column_types(self, tokenizer: Tokenizer) -> Mapping[str, type[np.unsignedinteger]]:
        """None."""
        return {}

    def encode(self, codes: Sequence[str], tokenizer: Tokenizer) -> tuple[Columns, Counter[str]]:
        """Nothing."""
        return {}, Counter()

    def rows(self, tokens: Tokens, template: SourceTemplate) -> TokenRows:
        """Rows of tokens."""
        return TokenRows(self._data.encoder_length, template)

    def prompts(
        self, tokenizers: Tokenizers, template: SourceTemplate, neighbours: PromptNeighbours | None = None
    ) -> TokenPrompts:
        """Prompts as tokens."""
        names = self._data.placeholders and tokenizers.direction == "text_to_code"
        return TokenPrompts(tokenizers.source, template, self._data.encoder_length, neighbours, has_placeholders=names)

    def statistics(self, tokens: Tokens) -> list[tuple[str, str]]:
        """None."""
        return []


registry.encoder_features.register("tokens")(TokenFeatures)


def encoder_features(data: DataConfig, model: ModelConfig) -> EncoderFeatures:
    """The features that config.model.encoder reads."""
    kind = model.encoder.features
    made: EncoderFeatures = registry.encoder_features.get(kind, "config.model.encoder.features")(data, model)
    return made
