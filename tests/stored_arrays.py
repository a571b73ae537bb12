"""Arrays by name as the checkpoint that an importer reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from t2c_jax.config import ModelConfig
from t2c_jax.interop.tensor_table import read_params
from t2c_jax.models.definition import Params


class StoredArrays:
    """What ``interop.tensor_table.Stored`` asks for, in blocks that may end within rows."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.arrays = {name: np.asarray(array) for name, array in arrays.items()}
        self.shapes = {name: array.shape for name, array in self.arrays.items()}

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """The numbers, 101 at a time."""
        numbers = self.arrays[name].reshape(-1).astype(np.float32)
        for first in range(0, len(numbers), 101):
            yield numbers[first : first + 101]


def read_arrays(family: Any, config: ModelConfig, arrays: Mapping[str, Any]) -> tuple[Params, set[str]]:
    """An architecture's parameters, and the names of what is none of them."""
    return read_params(family.layout(config, arrays), config, StoredArrays(arrays))


def unequal_copy(table: np.ndarray) -> np.ndarray:
    """The table with another last number."""
    other = np.array(table)
    other[-1, -1] += 1
    return other
