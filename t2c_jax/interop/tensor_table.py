"""A model's tensors as a table, from which its parameters are read and written.

A row of the table says which of their tensors a parameter is. Their matrices are (outputs, inputs) or (inputs,
outputs); ours lead with the width of the residual stream, and the other axis may be cut into heads.

What config.json says is compared with the headers of the weights before memory is taken for a parameter: a file may
ask for a billion rows, or layers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from t2c_jax.checkpoints.pytrees import flatten
from t2c_jax.config import ModelConfig
from t2c_jax.errors import UserError
from t2c_jax.interop.weights import aligned_empty
from t2c_jax.models.definition import Definition, Params

Path = tuple[str, ...]


class Tensor(NamedTuple):
    """Where a parameter is among their tensors.

    Attributes:
      name: theirs.
      path: ours.
      layer: its row of our stack of blocks; None where there is no stack.
      transposed: our first axis is their last.
      flat: all our axes are one of theirs, as of a bias of heads.
      unread: so many of their first rows are read by nothing. Ours lacks them, and they are written as zeros.
      part, parts: it is this one of so many equal parts of the axis that is not our first, or of the only one.
      offset: ours is theirs plus this.
    """

    name: str
    path: Path
    layer: int | None = None
    transposed: bool = False
    flat: bool = False
    unread: int = 0
    part: int = 0
    parts: int = 1
    offset: float = 0.0

    def leaf(self, params: Params) -> Any:
        """The parameter, or the layer of it."""
        node = _at(params, self.path)
        return node if self.layer is None else node[self.layer]

    @property
    def in_order(self) -> bool:
        """Whether their numbers come in the order of ours, and none beside them."""
        return not (self.transposed or self.unread) and self.parts == 1

    def shape(self, ours: Sequence[int]) -> tuple[int, ...]:
        """Of their tensor, where the parameter, or the layer of it, is of this shape."""
        oriented = [math.prod(ours)] if self.flat or len(ours) < 2 else [ours[0], math.prod(ours[1:])]
        oriented[-1] *= self.parts
        rows, *others = reversed(oriented) if self.transposed else oriented
        return (rows + self.unread, *others)

    def take(self, theirs: np.ndarray, ours: np.ndarray) -> None:
        """Sets the parameter, or the layer of it, to what their tensor holds of it, the offset aside."""
        found = theirs[self.unread :]
        found = found.T if self.transposed else found
        size = found.shape[-1] // self.parts
        ours[...] = found[..., self.part * size : (self.part + 1) * size].reshape(ours.shape)


def norm_tensors(theirs: str, ours: Path, layer: int | None = None) -> Iterator[Tensor]:
    """A LayerNorm's weight and bias."""
    yield Tensor(f"{theirs}.weight", (*ours, "scale"), layer)
    yield Tensor(f"{theirs}.bias", (*ours, "bias"), layer)


def dense_tensors(theirs: str, ours: Path, layer: int | None = None, *, transposed: bool = False) -> Iterator[Tensor]:
    """A projection's weight and bias, which is ``NAME_bias`` here beside the kernel ``NAME``."""
    yield Tensor(f"{theirs}.weight", ours, layer, transposed=transposed)
    yield Tensor(f"{theirs}.bias", (*ours[:-1], f"{ours[-1]}_bias"), layer, flat=True)


class Layout(NamedTuple):
    """The tensors of one model's checkpoint.

    Attributes:
      words: the one with a row for each piece of the vocabulary.
      table: has every parameter, the parts of a tensor side by side. It is lazy: config.json may ask for any number.
      copies: names under which a checkpoint may hold a tensor of the table again, and the name of that tensor. Its
        numbers are the parameter's.
      zeros: those that a checkpoint may hold, and that must be zero.
    """

    words: str
    table: Iterable[Tensor]
    copies: Mapping[str, str] = {}
    zeros: Sequence[str] = ()


class Stored(Protocol):
    """A checkpoint's tensors, such as ``weights.Weights``."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Of every tensor, by its name."""
        ...

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """A tensor's numbers in their order, in float32 vectors."""
        ...


def rows_of(layout: Layout, stored: Stored) -> int:
    """Rows of the table of words, as the weights have them.

    Raises:
      UserError: there is no such table.
    """
    shape = stored.shapes.get(layout.words)
    if shape is None:
        raise _missing(layout.words)
    if len(shape) != 2:
        raise UserError(f"tensor '{layout.words}' is {shape}; a table of words has two axes")
    return shape[0]


def checked(layout: Layout, config: ModelConfig, stored: Stored) -> tuple[list[Tensor], Params]:
    """The table, and our parameters' shapes, once the headers of the weights are what config.json makes them.

    Raises:
      UserError: a tensor is missing, or has another shape than config.json gives it.
    """
    rows, table = rows_of(layout, stored), []
    for tensor in layout.table:
        if tensor.name not in stored.shapes:
            raise _missing(tensor.name)
        table.append(tensor)
    abstract = Definition(config, rows).abstract_params()
    if config.encoder.own_tokenizer:
        abstract = {"encoder": abstract["encoder"]}
    _check_shapes(table, abstract, stored)
    return table, abstract


def read_params(layout: Layout, config: ModelConfig, stored: Stored) -> tuple[Params, set[str]]:
    """Their tensors as our parameters: float32, filled block by block, so that no second copy exists.

    Args:
      layout: of the model's tensors.
      config: the model section. Of an encoder with a tokenizer of its own, the encoder's parameters are read.
      stored: the checkpoint.

    Returns:
      The parameters, and the names of the tensors that are neither theirs nor copies of theirs.

    Raises:
      UserError: a tensor is missing, or has another shape than config.json gives it; or a copy is none.
    """
    table, abstract = checked(layout, config, stored)
    params = _empty(abstract)
    for name, group in itertools.groupby(table, key=lambda tensor: tensor.name):
        tensors = list(group)
        if tensors[0].in_order:
            _fill(tensors[0].leaf(params), stored.blocks(name))
        else:
            whole = np.empty(stored.shapes[name], np.float32)
            _fill(whole, stored.blocks(name))
            for tensor in tensors:
                tensor.take(whole, tensor.leaf(params))
        for tensor in tensors:
            if tensor.offset:
                tensor.leaf(params)[...] += np.float32(tensor.offset)
    left = set(stored.shapes) - {tensor.name for tensor in table}
    cross_off_copies(layout.copies, {tensor.name: tensor.leaf(params) for tensor in table}, stored, left)
    for name in left.intersection(layout.zeros):
        if any(block.any() for block in stored.blocks(name)):
            raise UserError(f"tensor '{name}' is not zero; models without it, or where it is zero, can be imported")
        left.discard(name)
    return params, left


def cross_off_copies(copies: Mapping[str, str], read: Mapping[str, np.ndarray], stored: Stored, left: set[str]) -> None:
    """Compares the copies that a checkpoint holds of one table with the one that was read.

    Args:
      copies: names of copies, and of what they are copies of.
      read: parameters by their tensors' names, number for number.
      stored: the checkpoint.
      left: loses the names of copies.

    Raises:
      UserError: a copy differs.
    """
    for name, original in copies.items():
        if name not in left:
            continue
        numbers, first = read[original].reshape(-1), 0
        same = stored.shapes[name] == stored.shapes[original]
        for block in stored.blocks(name) if same else ():
            same = same and np.array_equal(block, numbers[first : first + len(block)])
            first += len(block)
        if not same:
            raise UserError(
                f"tensor '{name}' differs from '{original}', and by config.json they are one table; correct its"
                " tie_word_embeddings where that is wrong"
            )
        left.discard(name)


def write_params(table: Iterable[Tensor], params: Params) -> dict[str, np.ndarray]:
    """Our parameters as their tensors: float32, contiguous."""
    written: dict[str, list[np.ndarray]] = {}
    axes = {}
    for tensor in table:
        leaf = np.asarray(tensor.leaf(params), np.float32)
        part = leaf.reshape(-1) if tensor.flat or leaf.ndim < 2 else leaf.reshape(leaf.shape[0], -1)
        part = part - np.float32(tensor.offset) if tensor.offset else part
        part = part.T if tensor.transposed else part
        axes[tensor.name] = 0 if tensor.transposed else part.ndim - 1
        written.setdefault(tensor.name, []).append(np.pad(part, [(tensor.unread, 0), *[(0, 0)] * (part.ndim - 1)]))
    return {name: np.ascontiguousarray(np.concatenate(parts, axes[name])) for name, parts in written.items()}


def _missing(name: str) -> UserError:
    return UserError(f"the weights lack the tensor '{name}', which a model of this config.json has")


def _check_shapes(table: Sequence[Tensor], abstract: Params, stored: Stored) -> None:
    """Every tensor has the shape that its parameter gives it, and every parameter has all its tensors."""
    unfilled = {path: leaf.size for path, leaf in flatten(abstract).items()}
    for tensor in table:
        shape = _at(abstract, tensor.path).shape
        ours = shape if tensor.layer is None else shape[1:]
        if (found := stored.shapes[tensor.name]) != (wanted := tensor.shape(ours)):
            raise UserError(f"tensor '{tensor.name}' is {found}; its config.json makes it {wanted}")
        unfilled[".".join(tensor.path)] -= math.prod(ours)
    if missing := sorted(path for path, numbers in unfilled.items() if numbers):
        raise UserError(f"parameters that no tensor fills: {', '.join(missing)}")


def _fill(array: np.ndarray, blocks: Iterator[np.ndarray]) -> None:
    """Sets a contiguous array's numbers."""
    numbers, first = array.reshape(-1), 0
    for block in blocks:
        numbers[first : first + len(block)] = block
        first += len(block)


def _at(tree: Any, path: Path) -> Any:
    for name in path:
        tree = tree[name]
    return tree


def _empty(abstract: Any) -> Any:
    if isinstance(abstract, Mapping):
        return {name: _empty(value) for name, value in abstract.items()}
    return aligned_empty(abstract.shape)
