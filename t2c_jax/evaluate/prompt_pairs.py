"""The pairs of a split as prompts and references, whichever way the model translates."""

from __future__ import annotations

import itertools
import shlex
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


def example_prompt(workdir: Workdir, direction: str) -> str | None:
    """The shortest prompt among the first dev pairs, or training pairs if there are no dev pairs; None without any."""
    for split in ("dev", "train"):
        texts = [pair.text for pair in itertools.islice(prompt_pairs(workdir, split, direction), 256)]
        if texts:
            return min(texts, key=len)
    return None


def shell_word(text: str) -> str:
    """The text as one word of a command line of bash or zsh, all on one line; after ``--`` if it begins like an option.

    >>> shell_word("it's x\ny")
    "$'it\\'s x\\ny'"
    """
    dashes = "-- " if text.startswith("-") else ""
    if text.isprintable():
        return dashes + shlex.quote(text)
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r", "\\": "\\\\", "'": "\\'"}
    escaped = (named.get(one) or (one if one.isprintable() else f"\\U{ord(one):08x}") for one in text)
    return f"{dashes}$'{''.join(escaped)}'"
