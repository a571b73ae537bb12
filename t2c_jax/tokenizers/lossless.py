"""The lossless proof: every pair of the corpus is encoded, decoded and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.tokenizers.loading import Tokenizers

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

SIDES = ("text", "code")


def round_trips(tokenizers: Tokenizers, pairs: Iterable[Pair]) -> dict[str, Any]:
    """Checks ``decode(encode(x)) == x`` for every text and code, and counts tokens.

    Returns:
      ``pairs``, and for each side ``failures`` (the ids of the pairs that differ after the round trip), ``characters``,
      ``tokens``, ``tokens_per_character``, ``unk`` (unknown tokens) and ``byte_share`` (share of tokens that are
      fallback bytes).
    """
    counts = {side: Counter[str](dict.fromkeys(("characters", "tokens", "unk", "bytes"), 0)) for side in SIDES}
    failures: dict[str, list[str]] = {side: [] for side in SIDES}
    checked = 0
    for batch in in_batches(pairs):
        checked += len(batch)
        for side in SIDES:
            tokenizer: Tokenizer = getattr(tokenizers, side)
            texts = [getattr(pair, side) for pair in batch]
            for pair, text, ids in zip(batch, texts, tokenizer.encode_batch(texts), strict=True):
                if tokenizer.decode(ids.tolist()) != text:
                    failures[side].append(pair.id)
                counts[side].update(
                    characters=len(text),
                    tokens=len(ids),
                    unk=int((ids == tokenizer.unk).sum()),
                    bytes=int(tokenizer.is_byte[ids].sum()),
                )
    return {
        "pairs": checked,
        **{
            side: {
                "failures": failures[side],
                "characters": count["characters"],
                "tokens": count["tokens"],
                "tokens_per_character": round(count["tokens"] / max(count["characters"], 1), 4),
                "unk": count["unk"],
                "byte_share": round(count["bytes"] / max(count["tokens"], 1), 6),
            }
            for side, count in counts.items()
        },
    }


def in_batches(pairs: Iterable[Pair], size: int = 1024) -> Iterator[list[Pair]]:
    """Lists of ``size`` pairs for ``encode_batch``; the last one is shorter."""
    pairs = iter(pairs)
    while batch := list(islice(pairs, size)):
        yield batch
