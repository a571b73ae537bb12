"""How Orbax writes arrays: in chunks of a given size, and which device writes what all of them hold."""

from __future__ import annotations

import functools

import jax
import orbax.checkpoint as ocp

# Orbax's own handler, the only one that writes chunks of a given size; made before ``write_small_arrays_whole``.
CHUNKS = ocp.type_handlers.create_type_handler_registry((jax.Array, ocp.type_handlers.get_type_handler(jax.Array)))


@functools.cache
def write_small_arrays_whole() -> None:
    """Has one device write an array of less than 1 MB a device that all devices hold.

    By default each device writes a part, however small: on eight devices a layer's norm becomes eight slices, transfers
    and writes, and training waits until the last has begun.
    """
    handler = ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=2**20)
    ocp.type_handlers.register_type_handler(jax.Array, handler, override=True)
