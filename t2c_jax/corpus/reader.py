"""The corpus as every later stage reads it."""

from __future__ import annotations

from collections.abc import Iterator

from t2c_jax.corpus import writer
from t2c_jax.corpus.pairs import SPLITS, Pair
from t2c_jax.errors import UserError, nearest
from t2c_jax.workdir import Workdir


def read_pairs(workdir: Workdir, split: str) -> Iterator[Pair]:
    """The pairs of a split, in the order of the sources; none if the split is empty.

    Raises:
      UserError: unknown split, no finished corpus in the workdir, or a damaged one.
    """
    count_pairs(workdir, split)
    return writer.read_dataset(workdir.corpus, split)


def count_pairs(workdir: Workdir, split: str) -> int:
    """How many pairs a split has, from the manifest.

    Raises:
      UserError: unknown split, or no finished corpus in the workdir.
    """
    if split not in SPLITS:
        raise UserError(f"unknown split '{split}'{nearest(split, SPLITS)}; splits are {', '.join(SPLITS)}")
    return workdir.manifest("corpus")["counts"]["splits"].get(split, 0)
