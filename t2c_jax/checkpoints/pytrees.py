"""Trees of arrays as nested dicts, the public format on disk, and checksums that show that they were read as written.

A checksum is the sum, modulo 2^32, of an array's words, each times an odd number that goes by its place. So any change
within one word changes it, and neither the mesh nor the order of the additions does. TensorStore checks the index of
its files, not what they hold: of weights, which hardly compress, a flipped bit would come back as another weight.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from t2c_jax.models.definition import names


def to_nested(tree: Any) -> dict[str, Any]:
    """Any tree as nested dicts keyed by names."""
    return unflatten(flatten(tree))


def from_nested(template: Any, nested: Mapping[str, Any]) -> Any:
    """The arrays of nested dicts in the template's own structure: the inverse of ``to_nested``."""
    arrays = flatten(nested)
    paths, structure = jax.tree_util.tree_flatten_with_path(template)
    return jax.tree.unflatten(structure, [arrays[".".join(names(path))] for path, _ in paths])


_WORDS = 2**15


def flatten(tree: Any) -> dict[str, Any]:
    """Leaves of any tree by dotted path."""
    return {".".join(names(path)): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts from leaves by dotted path."""
    return traverse_util.unflatten_dict(leaves, sep=".")


def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each array by dotted path."""
    return {path: tuple(leaf.shape) for path, leaf in flatten(tree).items()}


def abstract_on(abstract: Any, shardings: Any) -> Any:
    """Abstract arrays with shardings: what a checkpoint is restored into."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), abstract, shardings
    )


def checksums(tree: Any) -> dict[str, int]:
    """Of each array, by dotted path."""
    return begin_checksums(tree)()


def host_checksums(tree: Any) -> dict[str, int]:
    """The same numbers as ``checksums``, of arrays that lie in this process's memory, with little beside them there.

    XLA's program for a CPU writes the products down before it adds them, as much again as all arrays, takes twice as
    long, and has to be compiled.
    """
    sums = {}
    for path, leaf in flatten(tree).items():
        array = np.ascontiguousarray(leaf).reshape(-1)
        words, total = array.view({1: np.uint8, 2: np.uint16, 4: np.uint32}[array.itemsize]), 0
        for first in range(0, len(words), _WORDS):
            part = words[first : first + _WORDS].astype(np.uint64)
            # Word i counts 2 i + 1 times; sums over 2**15 words stay below 2**63.
            here = int((part * np.arange(len(part), dtype=np.uint64)).sum())
            total += 2 * here + (2 * first + 1) * int(part.sum())
        sums[path] = total % 2**32
    return sums


def begin_checksums(tree: Any) -> Callable[[], dict[str, int]]:
    """Starts to sum arrays, so that they may be donated; what is returned waits for the sums.

    Those in this process's memory are summed at once.
    """
    arrays = flatten(tree)
    near = host_checksums({path: leaf for path, leaf in arrays.items() if _lies_here(leaf)})
    arrays = {path: leaf for path, leaf in arrays.items() if path not in near}
    if not arrays:
        return lambda: near
    leaves = list(arrays.values())
    shardings = [getattr(leaf, "sharding", None) for leaf in leaves]
    where = next((sharding for sharding in shardings if isinstance(sharding, NamedSharding)), None)
    everywhere = None if where is None else NamedSharding(where.mesh, PartitionSpec())
    sums = _summing(everywhere)(leaves)
    if where is not None and where.mesh.size > 1 and jax.default_backend() == "cpu":
        # Several devices of one CPU share its threads: two programs that both wait for all devices may wait for ever.
        jax.block_until_ready(sums)
    return lambda: {**near, **dict(zip(arrays, jax.device_get(sums).tolist(), strict=True))}


def _lies_here(leaf: Any) -> bool:
    """Whether numpy reads an array where it is."""
    if not isinstance(leaf, jax.Array):
        return True
    devices: set[Any] = leaf.sharding.device_set
    return len(devices) == 1 and leaf.is_fully_addressable and next(iter(devices)).platform == "cpu"


def changed(tree: Any, expected: Mapping[str, int]) -> list[str]:
    """Paths of the arrays that do not have the checksum expected of them; one without any passes."""
    return [path for path, found in checksums(tree).items() if expected.get(path, found) != found]


@functools.cache
def _summing(sharding: Sharding | None) -> Any:
    def sums(leaves: Sequence[jax.Array]) -> jax.Array:
        return jnp.stack([_checksum(leaf) for leaf in leaves])

    return jax.jit(sums, out_shardings=sharding)


@jax.jit  # traced once for a shape
def _checksum(x: jax.Array) -> jax.Array:
    bits = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[x.dtype.itemsize]
    words = jax.lax.bitcast_convert_type(x, bits).astype(jnp.uint32)
    odd, stride = jnp.ones(x.shape, jnp.uint32), 2
    for axis in reversed(range(x.ndim)):  # by axis, so that an array stays split as it is
        odd += jnp.uint32(stride) * jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis)
        stride = stride * x.shape[axis] % 2**32
    # Row by row first: on a CPU, a sum to one number is made by one thread, a word at a time.
    rows = jax.lax.optimization_barrier(jnp.sum(words * odd, axis=-1, dtype=jnp.uint32)) if x.ndim else words * odd
    return jnp.sum(rows, dtype=jnp.uint32)
