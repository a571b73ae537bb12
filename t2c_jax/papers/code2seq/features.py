"""Paths as encoder features: stored by the tokens stage, sampled into training batches, and extracted from prompts.

``tokens/SPLIT/`` holds three ragged arrays more for the paths encoder, of the widths that the manifest's config states:
``path_nodes`` (P x M ids an example), ``path_ends`` (P x 2 indices into its terminals) and ``path_terminals`` (U x N
tokens, 0 padded).

A batch has other keys in the place of ``encoder_*``, one pair a row. Of ``x = y_1``, sampled into K = 2 paths of M = 4
nodes and terminals of N = 3 tokens (x is 7, y is 5 6; node ids are those of ``syntax_paths``):

    path_start_tokens       7 0 0   0 0 0        (B, K, N)
    path_nodes              a b c 0 0 0 0 0      (B, K, M)  Name:Store^ Assign Namev
    path_end_tokens         5 6 0   0 0 0        (B, K, N)
    encoder_segment_ids     1       0            (B, K)     1 where a path is

Letters: B rows, K paths of a row, P paths of an example, M nodes of a path, U terminals of an example, N tokens of one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from t2c_jax import console
from t2c_jax.data.encoder_features import Columns
from t2c_jax.data.permutation import permutation
from t2c_jax.data.prompt_encoder import EncodedPrompt, row_length
from t2c_jax.data.templates import SourceTemplate
from t2c_jax.data.tokens import Tokens
from t2c_jax.errors import UserError
from t2c_jax.papers.code2seq.config import PathsConfig
from t2c_jax.papers.code2seq.syntax_paths import SyntaxPaths, extract
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.tokenizers.loading import Tokenizers

COLUMNS = ("path_nodes", "path_ends", "path_terminals")
_SAMPLE = 2  # key: ``packing`` uses 0 and 1 with the same seed and epoch


class EncodedPaths(NamedTuple):
    """An example's paths.

    Attributes:
      nodes_PM: node ids, 0 after the last.
      ends_P2: the terminals of the first and the last leaf.
      terminals_UN: tokens of each terminal, 0 after the last.
    """

    nodes_PM: np.ndarray
    ends_P2: np.ndarray
    terminals_UN: np.ndarray

    def sample(self, limit: int, *key: int) -> EncodedPaths:
        """``limit`` of the paths without replacement, a function of ``key``; all of them where there are no more."""
        chosen = np.sort(permutation(len(self.ends_P2), *key, _SAMPLE)[:limit])
        return EncodedPaths(self.nodes_PM[chosen], self.ends_P2[chosen], self.terminals_UN)


def encode(codes: Sequence[str], tokenizer: Tokenizer, config: PathsConfig) -> tuple[list[EncodedPaths], int]:
    """The paths of each code, and how many codes do not parse (those have no path)."""
    found = [extract(code, config) for code in codes]
    nothing = SyntaxPaths(np.zeros((0, config.max_length), np.uint16), np.zeros((0, 2), np.int32), [])
    paths = [nothing if one is None else one for one in found]
    words = list(dict.fromkeys(terminal for one in paths for terminal in one.terminals))
    tokens_UN = np.zeros((len(words), config.terminal_tokens), np.int32)
    for row, ids in enumerate(tokenizer.encode_batch(words)):
        cut = ids[: config.terminal_tokens]
        tokens_UN[row, : len(cut)] = cut
    number = {word: row for row, word in enumerate(words)}
    encoded = [
        EncodedPaths(one.nodes_PM, one.ends_P2, tokens_UN[[number[terminal] for terminal in one.terminals]])
        for one in paths
    ]
    return encoded, sum(one is None for one in found)


class StoredPaths:
    """The paths of a split, by index.

    Attributes:
      counts: paths of each example, int64.
    """

    def __init__(self, tokens: Tokens, config: PathsConfig) -> None:
        """Reads the arrays of ``tokens``.

        Raises:
          UserError: the tokens stage did not store paths, or stored them with other settings.
        """
        if any(name not in tokens.columns for name in COLUMNS) or tokens.features != stored_settings(config):
            raise UserError("the tokens hold no paths of this config's settings; run t2c prepare")
        self._nodes, self._ends, self._terminals = (tokens.columns[name] for name in COLUMNS)
        self._config = config
        self.counts = self._ends.lengths // 2

    def __getitem__(self, i: int) -> EncodedPaths:
        return EncodedPaths(
            self._nodes[i].reshape(-1, self._config.max_length),
            self._ends[i].reshape(-1, 2),
            self._terminals[i].reshape(-1, self._config.terminal_tokens),
        )


def stored_settings(config: PathsConfig) -> dict[str, Any]:
    """The settings that decide what is stored; how many a batch samples of it does not."""
    return {name: getattr(config, name) for name in _STORED}


_STORED = ("stored", "max_length", "max_width", "terminal_tokens")


class PathRows:
    """One pair a row (Alon et al. 2019, section 3.2): K of its paths, sampled anew in each epoch."""

    key = "model.encoder.sampled"

    def __init__(self, stored: StoredPaths, config: PathsConfig) -> None:
        self._stored, self._config, self.length = stored, config, config.sampled

    def lengths(self, records_N: np.ndarray, tokens_N: np.ndarray) -> np.ndarray:
        """Paths in a row; a pair without any is dropped."""
        counts_N = self._stored.counts[records_N]
        return np.where(counts_N > 0, np.minimum(counts_N, self.length), self.length + 1)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """``array_shapes`` of K paths."""
        return array_shapes(self._config, self.length)

    def arrays(
        self, sources: Sequence[np.ndarray], starts: np.ndarray, records: np.ndarray, epochs: np.ndarray, seed: int
    ) -> dict[str, np.ndarray]:
        """Each pair's sample is a function of (seed, epoch, pair) alone."""
        pairs = zip(records.tolist(), epochs.tolist(), strict=True)
        sampled = (self._stored[i].sample(self.length, seed, epoch, i) for i, epoch in pairs)
        return lay_out_paths(sampled, len(starts) - 1, self.length, self._config)


class PathPrompts:
    """Code as paths of its syntax tree: the arrays of ``lay_out_paths``, with K paths a row."""

    def __init__(self, tokenizer: Tokenizer, config: PathsConfig) -> None:
        self._tokenizer, self._config = tokenizer, config

    @property
    def is_quick(self) -> bool:
        """Code is parsed."""
        return False

    def encode(self, prompts: Sequence[str], *, special_pieces: bool = False) -> list[EncodedPrompt]:
        """A sample of each code's paths, a function of their number alone; warns of code that has none."""
        encoded, unparsable = encode(prompts, self._tokenizer, self._config)
        empty = sum(len(one.ends_P2) == 0 for one in encoded)
        if empty:
            console.warn(
                f"{empty} of {len(prompts)} sources have no paths ({unparsable} of them are not this Python's syntax):"
                " their answers are guesses"
            )
        sampled = [one.sample(self._config.sampled, 0) for one in encoded]
        return [EncodedPrompt(one, len(one.ends_P2), truncated=False) for one in sampled]

    def batch(self, prompts: Sequence[EncodedPrompt], rows: int, shortest: int = 0) -> dict[str, np.ndarray]:
        """As many paths a row as the next power of two; rows without any hold a single empty path, which is read."""
        paths = min(self._config.sampled, max(shortest, row_length(prompts)))
        batch = lay_out_paths([prompt.value for prompt in prompts], rows, paths, self._config)
        batch["encoder_segment_ids"][:, 0] = 1
        return batch


class PathFeatures:
    """``EncoderFeatures`` of the paths encoder."""

    def __init__(self, config: PathsConfig) -> None:
        self._config = config
        self.stored_settings: Mapping[str, Any] = stored_settings(self._config)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """``array_shapes`` of K paths."""
        return array_shapes(self._config, self._config.sampled)

    def column_types(self, tokenizer: Tokenizer) -> Mapping[str, type[np.unsignedinteger]]:
        """As narrow as the values allow."""
        token = np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32
        end = np.uint16 if 2 * self._config.stored <= 2**16 else np.uint32
        return dict(zip(COLUMNS, (np.uint16, end, token), strict=True))

    def encode(self, codes: Sequence[str], tokenizer: Tokenizer) -> tuple[Columns, Counter[str]]:
        """The paths of each code; counts paths, codes without any, and codes that do not parse."""
        encoded, unparsable = encode(codes, tokenizer, self._config)
        sizes = [len(one.ends_P2) for one in encoded]
        counts = Counter(paths=sum(sizes), without_paths=sizes.count(0), unparsable=unparsable)
        return {name: [one[place].ravel() for one in encoded] for place, name in enumerate(COLUMNS)}, counts

    def rows(self, tokens: Tokens, template: SourceTemplate) -> PathRows:
        """Rows of paths."""
        return PathRows(StoredPaths(tokens, self._config), self._config)

    def prompts(self, tokenizers: Tokenizers, template: SourceTemplate, neighbours: None = None) -> PathPrompts:
        """Code as paths; nothing is read behind it (``config.check``)."""
        return PathPrompts(tokenizers.source, self._config)

    def statistics(self, tokens: Tokens) -> list[tuple[str, str]]:
        """How many paths pairs have."""
        counts = StoredPaths(tokens, self._config).counts
        return [
            ("paths stored at most", f"{self._config.stored:,}"),
            ("paths of a pair, mean", f"{counts.mean():,.1f}" if len(counts) else "-"),
            ("pairs with more than are sampled", f"{(counts > self._config.sampled).sum():,}"),
            ("pairs without a path, dropped", f"{(counts == 0).sum():,}"),
        ]


def array_shapes(config: PathsConfig, paths: int) -> dict[str, tuple[int, ...]]:
    """Shape of a row of each array that ``lay_out_paths`` gives; all are int32."""
    return {
        "path_start_tokens": (paths, config.terminal_tokens),
        "path_nodes": (paths, config.max_length),
        "path_end_tokens": (paths, config.terminal_tokens),
        "encoder_segment_ids": (paths,),
    }


def lay_out_paths(
    examples: Iterable[EncodedPaths], rows: int, paths: int, config: PathsConfig
) -> dict[str, np.ndarray]:
    """The encoder's part of a batch: an example a row, with at most ``paths`` paths; then empty rows."""
    batch = {name: np.zeros((rows, *shape), np.int32) for name, shape in array_shapes(config, paths).items()}
    for row, example in enumerate(examples):
        count = len(example.ends_P2)
        batch["path_nodes"][row, :count] = example.nodes_PM
        batch["path_start_tokens"][row, :count] = example.terminals_UN[example.ends_P2[:, 0]]
        batch["path_end_tokens"][row, :count] = example.terminals_UN[example.ends_P2[:, 1]]
        batch["encoder_segment_ids"][row, :count] = 1
    return batch
