"""Parameters that several models answer with: those of a run, and of runs that adapt it (config.lora), read once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import jax

from t2c_jax.checkpoints.pytrees import flatten, unflatten
from t2c_jax.models.adapted import SharedSteps
from t2c_jax.models.definition import Params


class Bases:
    """Finds the arrays of each base, by its checkpoint's identity, for as long as a model has them."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._arrays: WeakValueDictionary[tuple[Any, ...], jax.Array] = WeakValueDictionary()
        self._steps: WeakValueDictionary[str, SharedSteps] = WeakValueDictionary()

    def params(self, identity: str, abstract_params: Params, read: Callable[[Params], Params]) -> Params:
        """Some parameters of a base; ``read`` is called for those that nobody has asked for yet.

        Args:
          identity: of the base's checkpoint.
          abstract_params: shapes, dtypes and shardings.
          read: restores parameters that are laid out as its argument.
        """
        wanted = {
            path: (leaf, (identity, path, leaf.shape, leaf.dtype, leaf.sharding))
            for path, leaf in flatten(abstract_params).items()
        }
        known = {path: self._arrays.get(key) for path, (_, key) in wanted.items()}
        missing = {path: leaf for path, (leaf, _) in wanted.items() if known[path] is None}
        found = flatten(read(unflatten(missing))) if missing else {}
        for path, array in found.items():
            self._arrays[wanted[path][1]] = array
        return unflatten({**known, **found})

    def steps(self, identity: str) -> SharedSteps:
        """The layout of a base for the steps of a search."""
        return self._steps.setdefault(identity, SharedSteps())
