"""Which keys a query attends to, in one form for every attention kernel.

Letters: B batch, T queries, S keys.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

NOBODY = -1  # the segment of the rows and keys that a kernel's block size adds: it is nobody else's


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AttentionMask:
    """Which keys a query sees: those of its own segment and, where causal, not after it.

    Padding is segment 0 and sees padding alone. Kernels that take segment ids get them as they are; no mask is built.
    """

    query_segments_BT: Int[Array, "B T"]
    key_segments_BS: Int[Array, "B S"]
    causal: bool = field(default=False, metadata={"static": True})
    first_query: int = field(default=0, metadata={"static": True})  # where in the row the queries begin

    def dense(self) -> Bool[Array, "B 1 T S"]:
        """The dense mask, for kernels that take no segment ids."""
        mask_BTS = self.query_segments_BT[:, :, None] == self.key_segments_BS[:, None, :]
        if self.causal:
            queries, keys = mask_BTS.shape[1:]
            mask_BTS &= (jnp.arange(keys)[None, :] <= self.first_query + jnp.arange(queries)[:, None])[None]
        return mask_BTS[:, None]

    def blocks(self) -> Iterator[tuple[slice, slice, AttentionMask]]:
        """Blocks of queries with the keys that they may see: where causal, none after a block's last row.

        Scores exist for a block at a time; and nearly half of a long causal row's lie after their query, and are then
        never computed. At most eight blocks, of at least 128 rows, keep the program small.
        """
        queries = self.query_segments_BT.shape[1]
        size = max(128, -(-queries // 8))
        for start in range(0, queries, size):
            rows = slice(start, min(start + size, queries))
            first = self.first_query + start
            keys = slice(0, self.first_query + rows.stop if self.causal else None)
            part = AttentionMask(self.query_segments_BT[:, rows], self.key_segments_BS[:, keys], self.causal, first)
            yield rows, keys, part

    def padded(self, multiple: int) -> AttentionMask:
        """The same with both lengths brought up to a multiple; what is added sees, and is seen by, itself alone."""
        return dataclasses.replace(
            self,
            query_segments_BT=pad_to(self.query_segments_BT, multiple, axis=1, value=NOBODY),
            key_segments_BS=pad_to(self.key_segments_BS, multiple, axis=1, value=NOBODY),
        )


def pad_to(x: Array, multiple: int, *, axis: int, value: int = 0) -> Array:
    """``x`` with ``value`` appended along one axis until its length is a multiple."""
    missing = -x.shape[axis] % multiple
    if not missing:
        return x
    return jnp.pad(x, [(0, missing if i == axis else 0) for i in range(x.ndim)], constant_values=value)
