"""A model's tensors as a table, from which its parameters are read and written.

A row of the table says which of their tensors a parameter is. Their matrices are (outputs, inputs) or (inputs,
outputs); ours lead with the width of the residual stream, and the other axis may be cut into heads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from t2c_jax.errors import UserError
from t2c_jax.interop.weights import aligned_empty
from t2c_jax.models.definition import Params


class Tensor(NamedTuple):
    """Where a parameter is among their tensors.

    Attributes:
      name: theirs.
      path: ours.
      layer: its row of our stack of blocks; None where there is no stack.
      transposed: our first axis is their last.
      flat: all our axes are one of theirs, as of a bias of heads.
      unread: so many of their first rows are read by nothing. Ours lacks them, and they are written as zeros.
      part, parts: it is this one of so many equal parts of their rows.
      offset: ours is theirs plus this.
    """

    name: str
    path: tuple[str, ...]
    layer: int | None = None
    transposed: bool = False
    flat: bool = False
    unread: int = 0
    part: int = 0
    parts: int = 1
    offset: float = 0.0

    def leaf(self, params: Params) -> Any:
        """The parameter, or the layer of it."""
        node: Any = params
        for name in self.path:
            node = node[name]
        return node if self.layer is None else node[self.layer]

    @property
    def as_it_is(self) -> bool:
        """Whether theirs is ours, number for number."""
        return (
            self.layer is None and not (self.transposed or self.flat or self.unread or self.offset) and self.parts == 1
        )

    def put(self, params: Params, value: np.ndarray) -> None:
        """Sets the parameter to an array of the parameter's size."""
        *parents, last = self.path
        node: Any = params
        for name in parents:
            node = node[name]
        node[last] = value.reshape(node[last].shape)

    def shape(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        """Of their rows that a parameter of this shape is, the unread ones left out."""
        if self.flat or len(ours) < 2:
            return (math.prod(ours),)
        first, rest = ours[0], math.prod(ours[1:])
        return (rest, first) if self.transposed else (first, rest)


def read_params(
    table: Iterable[Tensor], abstract: Params, read: Callable[[str], np.ndarray], names: set[str]
) -> Params:
    """Their tensors as our parameters: float32, filled tensor by tensor, so that no second copy exists.

    Args:
      table: has every parameter of ``abstract``, the parts of a tensor side by side.
      abstract: shapes of the parameters.
      read: a tensor by its name, of any floating dtype.
      names: the checkpoint's tensors; those that were read are removed.

    Raises:
      UserError: a tensor is missing, or has another shape than config.json gives it.
    """
    params, last = _empty(abstract), ("", np.zeros(0))
    for tensor in table:
        name, found = last
        if tensor.name != name:
            if tensor.name not in names:
                raise UserError(f"the checkpoint has no tensor '{tensor.name}', which its config.json asks for")
            last = name, found = "", np.zeros(0)  # the one before is not kept while the next one is read
            found = read(tensor.name)
            last = tensor.name, found
            names.discard(tensor.name)
        leaf = tensor.leaf(params)
        rows, *others = tensor.shape(leaf.shape)
        wanted = (tensor.parts * rows + tensor.unread, *others)
        if found.shape != wanted:
            raise UserError(f"tensor '{tensor.name}' is {found.shape}; its config.json makes it {wanted}")
        if tensor.as_it_is and found.dtype == np.float32:  # the largest ones: tables of words
            tensor.put(params, found)
            continue
        first = tensor.unread + tensor.part * rows
        part = found[first : first + rows]
        leaf[...] = (part.T if tensor.transposed else part).reshape(leaf.shape)
        if tensor.offset:
            leaf += np.float32(tensor.offset)
    return params


def write_params(table: Iterable[Tensor], params: Params) -> dict[str, np.ndarray]:
    """Our parameters as their tensors: float32, contiguous."""
    written: dict[str, list[np.ndarray]] = {}
    for tensor in table:
        leaf = np.asarray(tensor.leaf(params), np.float32)
        rows = leaf.reshape(leaf.shape[0], -1).T if tensor.transposed else leaf.reshape(tensor.shape(leaf.shape))
        rows = rows - np.float32(tensor.offset) if tensor.offset else rows
        rows = np.pad(rows, [(tensor.unread, 0), *[(0, 0)] * (rows.ndim - 1)])
        written.setdefault(tensor.name, []).append(rows)
    return {name: np.ascontiguousarray(np.concatenate(parts)) for name, parts in written.items()}


def _empty(abstract: Any) -> Any:
    if isinstance(abstract, Mapping):
        return {name: _empty(value) for name, value in abstract.items()}
    return aligned_empty(abstract.shape)
