"""Ragged arrays on disk: ``NAME.npy`` holds all values end to end, ``NAME.offsets.npy`` where each item begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np


class RaggedArray:
    """Item i is ``values[offsets[i]:offsets[i + 1]]``."""

    def __init__(self, values: np.ndarray, offsets: np.ndarray) -> None:
        self.values, self.offsets = values, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> np.ndarray:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Length of each item, int64."""
        return np.diff(self.offsets)

    @classmethod
    def of(cls, items: Iterable[Sequence[int] | np.ndarray], dtype: type[np.unsignedinteger]) -> RaggedArray:
        """A ragged array in memory."""
        arrays = [np.asarray(item, dtype) for item in items]
        return cls(np.concatenate([np.zeros(0, dtype), *arrays]), _offsets([len(array) for array in arrays]))

    @classmethod
    def open(cls, directory: Path, name: str) -> RaggedArray:
        """Memory-maps ``directory/name.npy`` and reads its offsets."""
        values = np.load(directory / f"{name}.npy", mmap_mode="r")
        return cls(values, np.load(directory / f"{name}.offsets.npy"))


class RaggedWriter:
    """Writes a ragged array item by item; memory does not grow with the number of values."""

    def __init__(self, directory: Path, name: str, dtype: type[np.unsignedinteger]) -> None:
        self._offsets_path = directory / f"{name}.offsets.npy"
        self._file = (directory / f"{name}.npy").open("wb")
        self._dtype, self._lengths = np.dtype(dtype), list[int]()
        self._write_header()

    def _write_header(self) -> None:  # numpy pads it, so its size does not change as the first axis grows
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (sum(self._lengths),)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def extend(self, items: Iterable[np.ndarray]) -> None:
        """Appends items."""
        for item in items:
            self._file.write(item.astype(self._dtype).tobytes())
            self._lengths.append(len(item))

    def __enter__(self) -> RaggedWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._file.seek(0)
            self._write_header()
        np.save(self._offsets_path, _offsets(self._lengths))


def _offsets(lengths: Sequence[int]) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
