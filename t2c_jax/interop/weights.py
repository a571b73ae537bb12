"""The weights of a Hugging Face model directory: safetensors, read tensor by tensor, widened to float32.

A pickle is never loaded: it runs whatever its author wrote into it. A tensor is read block by block, so that no pages
of the file lie beside its float32 values.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from t2c_jax.errors import UserError
from t2c_jax.tokenizers.huggingface_files import read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_FLOATS = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16)}
_BLOCK = 2**20  # numbers
_ALIGNMENT = 64  # bytes, with which JAX takes an array of a CPU as it is
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")


class Weights:
    """Tensors of a model directory by name.

    Attributes:
      files: for each tensor the file that holds it.
      dtypes: for each tensor its dtype there, in safetensors' spelling.
      shapes: for each tensor its shape there.
    """

    def __init__(self, directory: Path) -> None:
        """Reads the headers alone.

        Raises:
          UserError: there are no safetensors, or a file is missing or damaged.
        """
        self.files: dict[str, Path] = {}
        self.dtypes: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._begins: dict[str, int] = {}
        paths, promised = _paths(directory)
        for path in paths:
            with _opened(path) as file:
                begins = _begins(path)
                for name in file.keys():  # noqa: SIM118 - the handle is no mapping
                    part = file.get_slice(name)
                    self.files[name] = path
                    self.dtypes[name], self.shapes[name] = part.get_dtype(), tuple(part.get_shape())
                    self._begins[name] = begins[name]
        for name, shard in promised.items():
            if self.files.get(name) != shard:
                raise UserError(f"'{shard}' lacks the tensor '{name}' that '{directory / INDEX}' places there")

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """A tensor's numbers in their order, in float32 vectors.

        Raises:
          UserError: the tensor is of another type than float32, float16 or bfloat16, or holds values that are not
            finite; or the file cannot be read any more.
        """
        path, dtype = self.files[name], _FLOATS.get(self.dtypes[name])
        if dtype is None:
            raise UserError(
                f"tensor '{name}' in '{path}' is of type {self.dtypes[name]}; {', '.join(_FLOATS)} can be read, so save"
                " the model in one of these"
            )
        size = math.prod(self.shapes[name])
        try:
            with path.open("rb") as file:
                file.seek(self._begins[name])
                for first in range(0, size, _BLOCK):
                    numbers = min(_BLOCK, size - first)
                    block = np.frombuffer(file.read(numbers * dtype.itemsize), dtype, numbers)
                    if not np.isfinite(block).all():
                        raise UserError(f"tensor '{name}' in '{path}' holds values that are not finite")
                    yield block.astype(np.float32, copy=False)
        except (OSError, ValueError) as error:
            raise UserError(f"'{path}' cannot be read any more ({error}); fetch it again") from None


def aligned_empty(shape: Sequence[int]) -> np.ndarray:
    """An array of float32 that JAX can take without a copy."""
    size = int(np.prod(shape, dtype=np.int64)) * 4
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % _ALIGNMENT
    return memory[first : first + size].view(np.float32).reshape(shape)


def _begins(path: Path) -> dict[str, int]:
    """Where each tensor begins in a file whose header safetensors has checked."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    return {name: 8 + size + part["data_offsets"][0] for name, part in header.items() if name != "__metadata__"}


def _paths(directory: Path) -> tuple[list[Path], dict[str, Path]]:
    """The files that hold the weights, and which tensor the index places where."""
    if (directory / SINGLE).exists():
        return [directory / SINGLE], {}
    index = directory / INDEX
    if not index.exists():
        for name in _PICKLES:
            if (directory / name).exists():
                raise UserError(
                    f"'{directory}' holds '{name}' and no safetensors; pickles and their like are never loaded: where"
                    " you trust it, convert it with transformers, AutoModel.from_pretrained(DIR).save_pretrained(DIR)"
                )
        raise UserError(f"'{directory}' holds neither '{SINGLE}' nor '{INDEX}'; --from wants a Hugging Face model")
    places = read_json(index).get("weight_map")
    if not isinstance(places, Mapping) or not places or not all(_plain(place) for place in places.values()):
        raise UserError(f"'{index}' must map tensors to files beside it, in 'weight_map'")
    shards = {str(name): directory / str(place) for name, place in places.items()}
    return sorted(set(shards.values())), shards


def _plain(name: object) -> bool:
    return isinstance(name, str) and bool(name) and Path(name).name == name and name.endswith(".safetensors")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(str(path), framework="numpy") as file:
            yield file
    except SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing header: ")
        raise UserError(f"'{path}' is damaged or cut short ({reason}); fetch it again") from None
    except FileNotFoundError:
        raise UserError(f"'{path}' does not exist, though the model's index names it; fetch it again") from None
    except OSError as error:
        raise UserError(f"'{path}' cannot be read: {error.strerror or error}") from None
