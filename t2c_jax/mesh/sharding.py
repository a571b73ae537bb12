"""Logical axes of arrays, and the mesh axes that each is split over.

Models name the axes of their parameters and activations (``embed``, ``heads``, ``batch`` …); one table here says which
mesh axes each is split over. Rows are split over ``data`` and ``fsdp`` together, parameters over ``fsdp`` (gathered as
needed, as in ZeRO; Rajbhandari et al. 2020, section 5) and ``tensor`` (Shoeybi et al. 2019, section 3). The residual
stream between blocks, with its norms and dropout, is split along its length over ``tensor`` (Korthikanti et al. 2022,
section 4.2.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# Logical axis -> mesh axes. Every axis a parameter or activation names must be here.
RULES: Mapping[str, tuple[str, ...] | None] = {
    "batch": ("data", "fsdp"),
    "length": ("tensor",),  # of the residual stream; inside attention and feed-forward a row is whole
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "shared_head": None,  # the only head of keys and values, which all heads of queries share
    "head_width": None,
    "mlp": ("tensor",),
    "vocab": ("tensor",),
    "relative_buckets": None,
    "pointer": None,
    "recurrent": ("tensor",),  # hidden units of a recurrent layer
    "gates": None,
    "state": None,  # the hidden units that a recurrent layer reads
    "source_vocab": None,  # a pre-trained encoder's own pieces: seldom a number that divides
    "positions": None,
    "token_types": None,
    "path_nodes": None,
    "layers": None,
    "norm": None,
    "activation": None,  # the width of an activation: its rows are split already
}


def partition_spec(names: tuple[str | None, ...]) -> PartitionSpec:
    """The mesh axes of an array whose axes have these logical names; None for an axis that is whole.

    Raises:
      KeyError: a name without a rule.
    """
    return PartitionSpec(*map(_rule, names))


def _rule(name: str | None) -> tuple[str, ...] | None:
    if name is None:
        return None
    if name not in RULES:
        raise KeyError(f"the logical axis '{name}' has no rule: add one to mesh.RULES")
    return RULES[name]


def shardings(names: Any, mesh: Mesh) -> Any:
    """A tree of ``NamedSharding`` from a tree of tuples of logical names."""
    return jax.tree.map(
        lambda leaf: NamedSharding(mesh, partition_spec(leaf)), names, is_leaf=lambda leaf: isinstance(leaf, tuple)
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of what every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Asks for an activation's layout by logical names; does nothing where no mesh is set.

    An axis that its mesh axes do not divide stays whole: the last, short piece would be padded on every device.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return x
    parts = [
        axes if axes is None or size % math.prod(mesh.shape[axis] for axis in axes) == 0 else None
        for size, axes in zip(x.shape, map(_rule, names), strict=True)
    ]
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*parts))


def gather(tree: Any, names: Any) -> Any:
    """Asks for parameters whole on every device but for what ``tensor`` splits; does nothing where no mesh is set.

    Args:
      tree: arrays.
      names: a tree like it, of tuples of logical names.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return tree
    return jax.tree.map(lambda leaf, axes: jax.lax.with_sharding_constraint(leaf, _gathered(axes)), tree, names)


def gathered_bytes(tree: Any, names: Any, dtype: str) -> int:
    """What ``gather`` puts on each device of the mesh that is set, in that type."""
    tensor = dict(jax.sharding.get_abstract_mesh().shape).get("tensor", 1)
    itemsize = jax.numpy.dtype(dtype).itemsize
    sizes = jax.tree.map(lambda leaf, axes: leaf.size // (tensor if any(_gathered(axes)) else 1), tree, names)
    return itemsize * sum(jax.tree.leaves(sizes))


def _gathered(names: tuple[str | None, ...]) -> PartitionSpec:
    return PartitionSpec(*(None if axes == ("fsdp",) else axes for axes in map(_rule, names)))
