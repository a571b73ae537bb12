"""Held-out pairs and benchmark problems that a model has nearly seen: near-duplicates among what it was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from t2c_jax.evaluate.training_overlap import NEAR_COPY, blocks, summary_of, training_overlap
from t2c_jax.languages.hashed_tokens import TokenHasher
from t2c_jax.languages.near_duplicates import SHINGLE, NearDuplicates, TokenSets

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

SHOWN = 20
"""Leaks that are listed, the most similar first."""


def leaks_between(pairs: Sequence[Pair], train: Iterable[Pair]) -> dict[str, Any]:
    """Held-out pairs whose text and code together are a near-duplicate of a training pair's.

    Returns:
      ``pairs``; ``near_duplicates``, how many of them have one; and ``found``, the most similar ones, each with
      the ids of both, their similarity, and the source and the licence of the training pair.
    """
    found = _nearest([f"{pair.text}\n{pair.code}" for pair in pairs], train, with_text=True)
    listed = [
        {
            "id": pairs[row].id,
            "train_id": other.id,
            "similarity": round(similarity, 4),
            "source": str(other.source),
            "licence": other.source.licence,
        }
        for row, (similarity, other) in sorted(found.items(), key=lambda item: (-item[1][0], item[0]))
    ]
    return {"pairs": len(pairs), "near_duplicates": len(found), "found": listed[:SHOWN]}


def leaks_of(codes: Sequence[str], train: Iterable[Pair]) -> dict[str, Any]:
    """How much of a benchmark's solutions was trained on.

    Returns:
      ``problems``; ``near_duplicates``, how many solutions are near-duplicates of a training pair's code; and the
      shares of their n-grams and the verbatim runs as ``training_overlap.summary_of`` gives them.
    """
    held = list(train)
    summary = summary_of(training_overlap(codes, held))
    return {"problems": summary.pop("texts"), "near_duplicates": len(_nearest(codes, held, with_text=False)), **summary}


def leakage(
    pairs: Sequence[Pair], train: Iterable[Pair], problems: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """Leaks between a held-out split and the training pairs, and of benchmark problems into these.

    Args:
      pairs: held out.
      train: all that was trained on, code without a text included.
      problems: solutions by the name of the benchmark's file.
    """
    held = list(train)
    # A model that describes code has it as the prompt.
    solved = [pair.reverse() if pair.language == "text" else pair for pair in held]
    return {
        "threshold": NEAR_COPY,
        "shingle": SHINGLE,
        "split": leaks_between(pairs, held),
        "problems": {name: leaks_of(codes, solved) for name, codes in (problems or {}).items() if codes},
    }


def _nearest(texts: Sequence[str], train: Iterable[Pair], *, with_text: bool) -> dict[int, tuple[float, Pair]]:
    """For each text with a near-duplicate, by its index, the most similar one; of equals the smallest id."""
    hasher = TokenHasher()
    index = NearDuplicates(TokenSets.of(texts, hasher), NEAR_COPY)
    found: dict[int, tuple[float, Pair]] = {}
    for held in blocks(train):
        sets = TokenSets.of((_content(pair, with_text) for pair in held), hasher)
        for row, text, similarity in _rows(index, sets):
            if text not in found or (-similarity, held[row].id) < (-found[text][0], found[text][1].id):
                found[text] = similarity, held[row]
    return found


def _content(pair: Pair, with_text: bool) -> str:
    return f"{pair.text}\n{pair.code}" if with_text else pair.code


def _rows(index: NearDuplicates, sets: TokenSets) -> Iterator[tuple[int, int, float]]:
    found = index.of(sets)
    return zip(found.rows.tolist(), found.others.tolist(), found.similarities.tolist(), strict=True)
