"""The samples among the answers of a search: texts from one distribution, equal and unfinished ones counted in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from t2c_jax.config import DecodeConfig

if TYPE_CHECKING:
    from t2c_jax.decode.generator import Answer


def sample_count(decode: DecodeConfig) -> int:
    """How many samples a search gives to a prompt: one, its answer, where nothing is sampled or a reranker chooses."""
    return decode.samples if decode.temperature and not decode.rerank else 1


def samples_of(answers: Sequence[Answer], decode: DecodeConfig) -> list[list[str]]:
    """The samples of each answer, best first."""
    if sample_count(decode) == 1:
        return [[answer.best] for answer in answers]
    return [[each.text for each in answer.hypotheses] for answer in answers]
