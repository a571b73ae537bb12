"""A pair with as little as a test needs."""

from t2c_jax.corpus.pairs import Pair, Source


def pair(pair_id: str, text: str, code: str, language: str = "python", kind: str = "function") -> Pair:
    source = Source("example", "0" * 40, "a/b.py", 3, 9, "MIT")
    return Pair(pair_id, text, code, language, kind, source)
