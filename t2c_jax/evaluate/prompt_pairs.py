"""The pairs of a split as prompts and references, whichever way the model translates."""

from __future__ import annotations

from collections.abc import Iterator

from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.corpus.pairs import Pair
from t2c_jax.workdir import Workdir


def prompt_pairs(workdir: Workdir, split: str, direction: str) -> Iterator[Pair]:
    """A split's pairs, with the prompt as their text and the reference as their code.

    Args:
      workdir: holds the corpus.
      split: ``train``, ``dev`` or ``test``.
      direction: config.data.direction. For ``code_to_text`` each pair is reversed.

    Code without a text is no prompt; it is for pre-training alone.
    """
    pairs = (pair for pair in read_pairs(workdir, split) if pair.has_text)
    return map(Pair.reverse, pairs) if direction == "code_to_text" else pairs
