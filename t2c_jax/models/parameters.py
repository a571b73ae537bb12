"""Parameters, and what is known of each, said where it is made.

``parameter`` makes one with its facts; ``label`` adds to all parameters of a module what only its owner knows, such as
the layer that it is. ``Definition.parameter_info`` gives them back as a tree: the mesh, the optimizer, adapters and a
partial restore read it, and none of them looks at a parameter's name.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

Kind = Literal["kernel", "bias", "scale", "embedding", "positions", "relative_bias", "mix"]
"""What a parameter is: a kernel of a product, a bias, a scale (of a norm, or a temperature), a table of token vectors,
a table of position vectors, a table of relative biases, or the weights of a mix of layers."""

EMBEDDING, OUTPUT = "embedding.embedding", "output"
"""Paths of the table of token vectors, and of the output table where it is another."""

OPTIONAL_PARTS = ("pointer", "heads")
"""Parts of a model that it may lose: it encodes and decodes without them."""

MATRICES: tuple[Kind, ...] = ("kernel", "embedding", "positions")


@dataclass(frozen=True)
class ParameterInfo:
    """What is known of a parameter.

    Attributes:
      axes: logical names of its axes (``mesh.RULES``); ``layers`` leads where it holds several layers.
      kind: see ``Kind``.
      adapted: LoRA adapts it by default.
      output_first: as a matrix its first axis is the output's side, as of kernels into the residual stream.
      extendable: the axis along which a partial restore may extend it; None for none.
      stack: dotted path of the stack of layers that it belongs to; empty for none.
      layers: the layers that it holds, counted from 0 at the bottom of its stack.
      depth: layers of the whole stack.
      part: dotted path of the part of a model that is there as a whole or not at all.
    """

    axes: tuple[str | None, ...]
    kind: Kind
    adapted: bool = False
    output_first: bool = False
    extendable: int | None = None
    stack: str = ""
    layers: tuple[int, ...] = ()
    depth: int = 0
    part: str = ""

    @property
    def leading(self) -> int:
        """How many axes of layers lead."""
        return self.axes[:1].count("layers") if self.kind != "mix" else 0

    @property
    def is_matrix(self) -> bool:
        """Whether it is a matrix, one for each layer: its first axis against all the others."""
        return self.kind in MATRICES and len(self.axes) - self.leading >= 2

    @property
    def decays(self) -> bool:
        """Whether weight decay shrinks it by default: kernels and tables of vectors, nothing else."""
        return self.kind in MATRICES

    def matrix_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a matrix as (layers, first axis, all others)."""
        first, *others = shape[self.leading :]
        return (*shape[: self.leading], first, math.prod(others))


def parameter(
    rngs: nnx.Rngs,
    shape: tuple[int, ...],
    names: tuple[str, ...],
    initializer: nnx.Initializer,
    kind: Kind = "kernel",
    *,
    adapted: bool = False,
    output_first: bool = False,
    extendable: int | None = None,
) -> nnx.Param[Array]:
    """A float32 parameter and what is known of it (``ParameterInfo``); ``names`` are its axes without layers."""
    info = ParameterInfo(names, kind, adapted=adapted, output_first=output_first, extendable=extendable)
    if _SHAPES_ONLY.get():
        initializer = nnx.initializers.zeros
    return nnx.Param(initializer(rngs.params(), shape, jnp.float32), info=info)


_SHAPES_ONLY = contextvars.ContextVar("_SHAPES_ONLY", default=False)


@contextlib.contextmanager
def shapes_only() -> Iterator[None]:
    """For modules that are traced for the shapes of their parameters: zeros are traced sooner than random numbers."""
    token = _SHAPES_ONLY.set(True)
    try:
        yield
    finally:
        _SHAPES_ONLY.reset(token)


PARENT = ".."
"""As ``label``'s stack: the module that holds the labelled one."""


@dataclass(frozen=True)
class _Label:
    """Facts of a module's parameters; ``below`` is how many names lead from the module to the parameter."""

    below: int
    stack: str | None
    layers: tuple[int, ...]
    depth: int
    is_part: bool


def label(
    module: Any,
    *,
    stack: str | None = None,
    layers: tuple[int, ...] = (),
    depth: int = 0,
    is_part: bool = False,
) -> Any:
    """The module, its parameters labelled with what only its owner knows.

    Args:
      module: one that was just made.
      stack: the stack that it belongs to: a name beside the module's own, "" for the module itself, or ``PARENT``.
      layers: the layers that it holds.
      depth: layers of the whole stack.
      is_part: it is there as a whole or not at all.
    """
    for path, node in nnx.iter_graph(module):
        if isinstance(node, nnx.Param):
            labels = (*node.get_metadata().get("labels", ()), _Label(len(path), stack, layers, depth, is_part))
            node.set_metadata(labels=labels)
    return module


def info_of(path: tuple[str, ...], variable: Any) -> ParameterInfo:
    """What is known of a parameter, from its metadata and its path in the whole model.

    Raises:
      KeyError: it was not made by ``parameter``.
    """
    metadata = variable.get_metadata()
    if "info" not in metadata:
        raise KeyError(f"parameter {'.'.join(path)} says nothing of itself: make it with models.parameters.parameter")
    info: ParameterInfo = metadata["info"]
    stacked = len(variable.shape) - len(info.axes)
    info = dataclasses.replace(info, axes=("layers",) * stacked + info.axes, part=path[0])
    if stacked:
        info = dataclasses.replace(info, extendable=0)
    for one in metadata.get("labels", ()):
        module = path[: len(path) - one.below]
        if one.stack is not None:
            own = {"": module, PARENT: module[:-1]}.get(one.stack, (*module[:-1], one.stack))
            name = ".".join(own)
            info = dataclasses.replace(info, stack=name, layers=one.layers, depth=one.depth)
        if one.is_part:
            info = dataclasses.replace(info, part=".".join(module))
    return info
