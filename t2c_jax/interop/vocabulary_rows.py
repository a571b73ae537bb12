"""Parameters that have a row for each piece: which ones they are, and fewer or more rows of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from t2c_jax.checkpoints.pytrees import flatten, unflatten
from t2c_jax.config import ModelConfig
from t2c_jax.models.definition import Definition, Params


def with_rows(model: ModelConfig, rows: int) -> ModelConfig:
    """The model section for a vocabulary of another size; only encoders with a tokenizer of their own say it there."""
    if not model.encoder.own_tokenizer:
        return model
    encoder: Any = model.encoder
    return replace(model, encoder=replace(encoder, vocab_size=rows))


def with_pieces(model: ModelConfig, ids: Sequence[int]) -> ModelConfig:
    """The model section for a vocabulary of these pieces alone; the token that is read unscaled must be one of them."""
    unscaled = list(ids).index(model.unscaled_id) if model.unscaled_id >= 0 else -1
    return replace(with_rows(model, len(ids)), unscaled_id=unscaled)


def vocabulary_axes(model: ModelConfig, rows: int) -> dict[str, int]:
    """The parameters whose shape depends on the vocabulary, and the axis on which it does."""
    small, large = (flatten(Definition(with_rows(model, n), n).abstract_params()) for n in (rows, rows + 1))
    axes = {}
    for path, leaf in small.items():
        for axis, (one, other) in enumerate(zip(leaf.shape, large[path].shape, strict=True)):
            if one != other:
                axes[path] = axis
    return axes


def fewer_rows(params: Params, axes: Mapping[str, int], ids: Sequence[int]) -> Params:
    """The parameters with these rows of their tables alone."""
    leaves = flatten(params)
    for path in axes.keys() & leaves.keys():
        leaves[path] = np.take(leaves[path], ids, axis=axes[path])
    return unflatten(leaves)


def rows_put_back(trained: Params, whole: Params, axes: Mapping[str, int], ids: Sequence[int]) -> Params:
    """The trained parameters with the tables of the whole vocabulary, in which the trained rows replace the kept ones.

    Args:
      trained: parameters with a row for each of ``ids``.
      whole: parameters of the model as it was imported; its tables are changed.
      axes: as ``vocabulary_axes`` gives them.
      ids: the number of each trained row in ``whole``.
    """
    leaves, original = flatten(trained), flatten(whole)
    for path in axes.keys() & leaves.keys():
        table = original[path]
        np.moveaxis(table, axes[path], 0)[list(ids)] = np.moveaxis(np.asarray(leaves[path]), axes[path], 0)
        leaves[path] = table
    return unflatten(leaves)
