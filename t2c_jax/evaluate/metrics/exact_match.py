"""Equality of texts."""

from __future__ import annotations

from t2c_jax.evaluate.metrics.metric import Match


def exact_match(prediction: str, reference: str) -> bool:
    """Whether the two are the same text; white space around them is ignored, inside them it counts."""
    return prediction.strip() == reference.strip()


class ExactMatch(Match):
    """Share of predictions that equal their reference."""

    name = "exact_match"
    title = "Exact match"
    phrase = "exact match"
    signature = "equal after stripping surrounding whitespace"
    match = staticmethod(exact_match)
