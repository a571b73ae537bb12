"""What a pair asks of the model: token arrays in, a source and a target out.

An objective is two pure functions. One gives the lengths of source and target from the lengths of text and code
alone, so that rows are planned without touching a token; the other makes the tokens. One that draws at random draws
by ``order.mix`` of (seed, epoch, example), never from a generator that remembers.
"""

from __future__ import annotations

import numpy as np

from t2c_jax.data.tokenizer import EOS


def source(text: np.ndarray, prefix: np.ndarray) -> np.ndarray:
    """The encoder's tokens for a text, in training and in generation alike: prefix, text, eos."""
    return np.concatenate([prefix, text, [EOS]], dtype=np.int32)


def translate(text: np.ndarray, code: np.ndarray, prefix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Text to code: (prefix + text + eos, code + eos), int32."""
    return source(text, prefix), np.concatenate([code, [EOS]], dtype=np.int32)


def translate_lengths(
    text_lengths_N: np.ndarray, code_lengths_N: np.ndarray, prefix_length: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of what ``translate`` returns."""
    return text_lengths_N + prefix_length + 1, code_lengths_N + 1
