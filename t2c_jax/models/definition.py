"""The border between Flax and the rest: a model as a definition, its parameters as a plain nested dict.

This is the only file that splits and merges NNX modules. A ``Definition`` holds no arrays; ``bind`` puts
parameters back into a module, inside a traced function only.
"""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Key

from t2c_jax import mesh as meshes
from t2c_jax.config import ModelConfig
from t2c_jax.errors import UserError
from t2c_jax.models.parameters import info_of, shapes_only
from t2c_jax.models.seq2seq import Seq2Seq

Params = dict[str, Any]


@dataclass(frozen=True)
class Definition:
    """A model without its parameters."""

    config: ModelConfig
    vocab_size: int

    def build(self, key: Key[Array, ""]) -> Seq2Seq:
        """The module with random initial parameters."""
        return Seq2Seq(self.config, self.vocab_size, rngs=nnx.Rngs(key))

    @functools.cache  # noqa: B019 - definitions are few, small and hashable
    def _abstract(self) -> tuple[Any, Any]:
        with shapes_only():
            return nnx.split(nnx.eval_shape(self.build, jax.random.key(0)), nnx.Param)

    def init(self, key: Key[Array, ""]) -> Params:
        """Random initial parameters, float32, as a plain nested dict. Trace it under ``jax.jit``."""
        params = nnx.to_pure_dict(nnx.split(self.build(key), nnx.Param)[1])
        if self.config.uniform_init:
            leaves, structure = jax.tree.flatten(params)
            keys = jax.random.split(key, len(leaves))
            bound = self.config.uniform_init
            leaves = [jax.random.uniform(k, x.shape, x.dtype, -bound, bound) for k, x in zip(keys, leaves, strict=True)]
            params = jax.tree.unflatten(structure, leaves)
        return params

    def abstract_params(self) -> Params:
        """Shapes and dtypes of ``init``'s result, without computing it."""
        params: Params = nnx.to_pure_dict(self._abstract()[1])
        return params

    def axis_names(self) -> Params:
        """A tree like the parameters', its leaves the logical names of their axes.

        Raises:
          KeyError: a parameter without names: every one needs a sharding rule.
        """
        return jax.tree.map(lambda info: info.axes, self.parameter_info())

    def parameter_info(self) -> Params:
        """A tree like the parameters', its leaves what is known of each.

        Raises:
          KeyError: a parameter that was not made by ``models.parameters.parameter``.
        """
        found = {
            path: info_of(tuple(map(str, path)), variable) for path, variable in nnx.to_flat_state(self._abstract()[1])
        }
        tree: Params = nnx.traversals.unflatten_mapping(found)
        return tree

    def axis_sizes(self) -> dict[str, set[int]]:
        """The sizes of the parameters' axes, by logical name: what a mesh has to divide."""
        found: dict[str, set[int]] = {}
        named = self.axis_names()
        for path, variable in nnx.to_flat_state(self._abstract()[1]):
            names: Any = functools.reduce(operator.getitem, path, named)  # type: ignore[arg-type]
            for name, size in zip(names, variable.shape, strict=True):
                found.setdefault(name, set()).add(size)
        return found

    def nbytes(self) -> int:
        """Bytes of all parameters."""
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.abstract_params()))

    def shardings(self, mesh: Mesh) -> Params:
        """A ``NamedSharding`` for each parameter.

        Raises:
          UserError: one that the mesh does not divide.
        """
        named = meshes.shardings(self.axis_names(), mesh)
        for path, variable in nnx.to_flat_state(self._abstract()[1]):
            sharding = functools.reduce(operator.getitem, path, named)
            for size, axes in zip(variable.shape, sharding.spec, strict=True):
                parts = math.prod(mesh.shape[axis] for axis in (axes if isinstance(axes, tuple) else (axes,)) if axis)
                if size % parts:
                    raise UserError(
                        f"the parameter {'.'.join(map(str, path))} of {list(variable.shape)} has an axis that is not"
                        f" divisible by config.mesh.{axes}={parts}"
                    )
        return named

    def bind(self, params: Params) -> Seq2Seq:
        """The module holding these parameters, to call inside a traced function."""
        graphdef, abstract = self._abstract()
        state = jax.tree.map(lambda leaf: leaf, abstract)
        nnx.replace_by_pure_dict(state, params)
        return nnx.merge(graphdef, state)


def count(params: Params) -> int:
    """How many numbers a parameter tree holds."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def names(path: tuple[Any, ...]) -> tuple[str, ...]:
    """A tree path as names: dict keys, fields of named tuples, indices."""
    return tuple(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)
