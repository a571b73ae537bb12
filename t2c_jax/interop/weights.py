"""The weights of a Hugging Face model directory: safetensors, read tensor by tensor, widened to float32.

A pickle is never loaded: it runs whatever its author wrote into it. A tensor is read block by block, so that it takes
the room of its float32 values, and no pages of the file beside them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from t2c_jax.errors import UserError
from t2c_jax.tokenizers.huggingface_files import read_json

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_FLOATS = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16)}
_BLOCK = 2**22  # numbers
_ALIGNMENT = 64  # bytes, with which JAX takes an array of a CPU as it is
_PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack")


class Weights:
    """Tensors of a model directory by name.

    Attributes:
      files: for each tensor the file that holds it.
      dtypes: for each tensor its dtype there, in safetensors' spelling.
    """

    def __init__(self, directory: Path) -> None:
        """Reads the headers alone.

        Raises:
          UserError: there are no safetensors, or a file is missing or damaged.
        """
        self.files: dict[str, Path] = {}
        self.dtypes: dict[str, str] = {}
        self._shapes: dict[str, list[int]] = {}
        self._begins: dict[str, int] = {}
        paths, promised = _paths(directory)
        for path in paths:
            with _opened(path) as file:
                begins = _begins(path)
                for name in file.keys():  # noqa: SIM118 - the handle is no mapping
                    part = file.get_slice(name)
                    self.files[name] = path
                    self.dtypes[name], self._shapes[name] = part.get_dtype(), part.get_shape()
                    self._begins[name] = begins[name]
        for name, shard in promised.items():
            if self.files.get(name) != shard:
                raise UserError(f"'{shard}' lacks the tensor '{name}' that '{directory / INDEX}' places there")

    @property
    def size(self) -> int:
        """Numbers in all tensors."""
        return sum(int(np.prod(shape, dtype=object)) for shape in self._shapes.values())

    def read(self, name: str) -> np.ndarray:
        """One tensor, float32.

        Raises:
          UserError: there is none of that name; it is of another type than float32, float16 or bfloat16; or it holds
            values that are not finite.
        """
        if name not in self.files:
            raise UserError(f"the weights lack the tensor '{name}', which a model of this config.json has")
        if self.dtypes[name] not in _FLOATS:
            raise UserError(
                f"tensor '{name}' in '{self.files[name]}' is of type {self.dtypes[name]}; {', '.join(_FLOATS)} can be"
                " read, so save the model in one of these"
            )
        path, array = self.files[name], aligned_empty(self._shapes[name])
        numbers, dtype = array.reshape(-1), _FLOATS[self.dtypes[name]]
        try:
            with path.open("rb") as file:
                file.seek(self._begins[name])
                for first in range(0, len(numbers), _BLOCK):
                    block = numbers[first : first + _BLOCK]
                    block[...] = np.frombuffer(file.read(len(block) * dtype.itemsize), dtype)
                    if not np.isfinite(block).all():
                        raise UserError(f"tensor '{name}' in '{path}' holds values that are not finite")
        except (OSError, ValueError) as error:
            raise UserError(f"'{path}' cannot be read any more ({error}); fetch it again") from None
        return array


class Tensors:
    """Tensors of one model, crossed off a set of names as they are read.

    Attributes:
      prefix: comes before each name.
    """

    def __init__(self, read: Callable[[str], np.ndarray], names: set[str], prefix: str = "") -> None:
        """``names`` loses what is read."""
        self._read, self._names, self.prefix = read, names, prefix

    def one(self, name: str) -> np.ndarray:
        """A tensor as it is."""
        name = self._spelled(self.prefix + name)
        array = self._read(name)
        self._names.discard(name)
        return array

    def norm(self, name: str) -> dict[str, np.ndarray]:
        """A norm's weight and bias, under the names that they have here."""
        return {"scale": self.one(f"{name}.weight"), "bias": self.one(f"{name}.bias")}

    def _spelled(self, name: str) -> str:
        """BERT's oldest files, made from TensorFlow's, call a norm's weight gamma and its bias beta."""
        stem, _, last = name.rpartition(".")
        old = f"{stem}.{ {'weight': 'gamma', 'bias': 'beta'}.get(last, last) }"
        return old if name not in self._names and old in self._names else name


class Blocks:
    """Tensors of a model's equal blocks, those of one name stacked on a leading layer axis."""

    def __init__(self, tensors: Tensors, block: str, layers: int) -> None:
        """``block`` is how each name starts, ``{}`` in it the layer's number."""
        self._tensors, self._block, self._layers = tensors, block, layers

    def stack(self, name: str, change: Callable[[np.ndarray], np.ndarray] = lambda array: array) -> np.ndarray:
        """The tensors of all layers, changed.

        Raises:
          UserError: a tensor is missing, or does not have the shape that config.json or the first layer gives it.
        """
        stacked: np.ndarray | None = None
        for layer in range(self._layers):
            full = self._block.format(layer) + name
            array = self._tensors.one(full)
            try:
                array = change(array)
                if stacked is None:
                    stacked = aligned_empty((self._layers, *array.shape))
                stacked[layer] = array
            except ValueError as error:
                raise UserError(
                    f"tensor '{self._tensors.prefix}{full}' does not fit the shape in config.json: {error}"
                ) from None
        assert stacked is not None
        return stacked

    def norm(self, name: str) -> dict[str, np.ndarray]:
        """A norm's weights and biases, under the names that they have here."""
        return {"scale": self.stack(f"{name}.weight"), "bias": self.stack(f"{name}.bias")}


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
