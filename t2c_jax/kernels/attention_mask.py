"""Which keys a query attends to, in one form for every attention kernel.

Letters: B batch, T queries, S keys.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

LANES = 128  # of a TPU's vector registers: the Pallas kernels' lengths are multiples
NOBODY = -1  # the segment of the rows and keys that a kernel's block size adds: it is nobody else's


class Band(NamedTuple):
    """Which keys a query sees by their places in a row: those from ``before`` before it to ``after`` after it.

    Attributes:
      before: None for all.
      after: None for all.
      first_query: where among the keys the queries begin.
      own_keys: how many keys are of the queries' own row; places do not matter to those behind. None: all.
    """

    before: int | None = None
    after: int | None = None
    first_query: int = 0
    own_keys: int | None = None

    def sees(self, query: Any, key: Any) -> Any:
        """Whether the query of this number sees the key of that; arrays that go together, or numbers."""
        place = self.first_query + query
        seen: Any = True
        if self.before is not None:
            seen &= key >= place - self.before
        if self.after is not None:
            seen &= key <= place + self.after
        if self.own_keys is not None:
            seen |= key >= self.own_keys
        return seen

    @property
    def limits(self) -> bool:
        """Whether there is a key that a query does not see."""
        return self.before is not None or self.after is not None


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AttentionMask:
    """Which keys a query sees: those of its own segment that its place in the row lets it see.

    Padding is segment 0 and sees padding alone. Kernels that take segment ids get them as they are; no mask is built.
    Within a segment, places differ as positions do.

    Attributes:
      query_segments_BT: the queries' segments.
      key_segments_BS: the keys'.
      causal: a query sees nothing after itself.
      first_query: where in the row of keys the queries begin.
      window: how many keys before and after itself a query sees; None for all.
      own_keys: how many keys are of the queries' own row; neither ``causal`` nor ``window`` limits those behind. None:
        all.
    """

    query_segments_BT: Int[Array, "B T"]
    key_segments_BS: Int[Array, "B S"]
    causal: bool = field(default=False, metadata={"static": True})
    first_query: int = field(default=0, metadata={"static": True})
    window: tuple[int, int] | None = field(default=None, metadata={"static": True})
    own_keys: int | None = field(default=None, metadata={"static": True})

    @property
    def band(self) -> Band:
        """What places in the row let a query see."""
        before, after = self.window or (None, None)
        return Band(before, 0 if self.causal else after, self.first_query, self.own_keys)

    def dense(self) -> Bool[Array, "B 1 T S"]:
        """The dense mask, for kernels that take no segment ids."""
        mask_BTS = self.query_segments_BT[:, :, None] == self.key_segments_BS[:, None, :]
        if self.band.limits:
            queries, keys = mask_BTS.shape[1:]
            mask_BTS &= self.band.sees(jnp.arange(queries)[:, None], jnp.arange(keys)[None, :])[None]
        return mask_BTS[:, None]

    def blocks(self) -> Iterator[tuple[slice, tuple[slice, ...], AttentionMask]]:
        """Blocks of queries with the parts of the keys that they may see.

        Scores exist for a block at a time; and nearly half of a long causal row's lie after their query, and are then
        never computed, nor those outside of a window. At most eight blocks, of at least 128 rows, keep the program
        small.
        """
        (queries, keys), band = (x.shape[1] for x in (self.query_segments_BT, self.key_segments_BS)), self.band
        own_keys = keys if self.own_keys is None else self.own_keys
        size = max(128, -(-queries // 8))
        for start in range(0, queries, size):
            rows = slice(start, min(start + size, queries))
            begin = 0 if band.before is None else max(0, min(self.first_query + start - band.before, own_keys))
            end = own_keys if band.after is None else min(self.first_query + rows.stop + band.after, own_keys)
            parts = (slice(begin, end), slice(own_keys, keys)) if own_keys < keys else (slice(begin, end),)
            yield (
                rows,
                parts,
                dataclasses.replace(
                    self,
                    query_segments_BT=self.query_segments_BT[:, rows],
                    key_segments_BS=joined(self.key_segments_BS, parts, axis=1),
                    first_query=self.first_query + start - begin,
                    own_keys=None if self.own_keys is None else end - begin,
                ),
            )

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


def joined(x: Array, parts: Sequence[slice], *, axis: int) -> Array:
    """Parts of an axis, one behind the other."""
    taken = [jax.lax.slice_in_dim(x, part.start, part.stop, axis=axis) for part in parts]
    return taken[0] if len(taken) == 1 else jnp.concatenate(taken, axis=axis)
