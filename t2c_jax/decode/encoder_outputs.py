"""What the encoder makes of prompts, kept for searches beside each other, which share it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import jax
import numpy as np

from t2c_jax.data.prompt_encoder import EncodedPrompt
from t2c_jax.decode.slots import Pool

LONGEST = 1 << 30
LENGTHS = (32, 64, LONGEST)  # positions of the encoder
_KEPT_BYTES = 256 << 20  # of outputs; more only where one call needs more

Place = tuple[Pool, int]
"""A pool, and the row of a prompt in it."""


class EncoderOutputs:
    """The outputs of the encoder for the latest prompts. Several threads may use it.

    Attributes:
      lengths: positions that there are programs for, ascending: a prompt is read as the first that holds it.
      sample: some pool; None before there is any.
      compiling: held by a search that compiles the encoder's programs, so that another one finds them there.
    """

    def __init__(self, encode: Callable[[Sequence[EncodedPrompt], int, int], Pool]) -> None:
        """Nothing is read yet.

        Args:
          encode: what the encoder makes of prompts, as a pool of so many positions and rows.
        """
        self._encode, self._lock, self.compiling = encode, threading.Lock(), threading.Lock()
        self.lengths: tuple[int, ...] = LENGTHS
        self.sample: Pool | None = None
        self._places: dict[bytes, Future[Place]] = {}
        self._pools: OrderedDict[int, tuple[int, list[bytes]]] = OrderedDict()  # bytes and prompts, by the pool's id
        self._bytes = 0

    def read(self, prompts: Sequence[EncodedPrompt], length: int, rows: int) -> Pool:
        """The outputs for prompts, which are not kept: a pool of ``rows``, read as ``length`` positions at most."""
        pool = self._encode(prompts, length, rows)
        if self.sample is None:
            self.sample = pool
        return pool

    def places(
        self, prompts: Sequence[EncodedPrompt], ahead: Sequence[EncodedPrompt], sizes: Sequence[int]
    ) -> list[Place]:
        """Where the outputs for prompts are. What is not known is read by this call, or awaited from another thread.

        Prompts of one length are read together: each costs as much as the longest beside it, and one alone costs more
        than its share of many. So where one is read, ``ahead`` are read with it as far as there is room.

        Args:
          prompts: whose outputs are needed.
          ahead: that will be needed next.
          sizes: numbers of prompts that there are programs for.
        """
        keys = [_content(prompt) for prompt in prompts]
        with self._lock:
            groups = self._groups(dict(zip(keys, prompts, strict=True)), ahead, sizes[-1])
            found = [self._places[key] for key in keys]
        for number, (length, group) in enumerate(groups):
            try:
                rows = next(size for size in sizes if size >= len(group))
                pool = self.read(list(group.values()), length, rows)
            except BaseException as error:
                self._fail([key for _, other in groups[number:] for key in other], error)
                raise
            self._keep(pool, list(group))
        try:
            places = [each.result() for each in found]
        except Exception:  # of another thread, for which this one tries itself
            return self.places(prompts, (), sizes)
        with self._lock:
            for pool, _ in places:
                if id(pool) in self._pools:
                    self._pools.move_to_end(id(pool))
            self._forget()
        return places

    def _groups(
        self, wanted: dict[bytes, EncodedPrompt], ahead: Sequence[EncodedPrompt], most: int
    ) -> list[tuple[int, dict[bytes, EncodedPrompt]]]:
        """What this thread is to read, and as how many positions: from now on other threads wait for it."""
        by_length: dict[int, dict[bytes, EncodedPrompt]] = {}
        for key, prompt in wanted.items():
            if key not in self._places:
                by_length.setdefault(self._length(prompt), {})[key] = prompt
        for prompt in ahead if by_length else ():
            group = by_length.get(self._length(prompt), {})
            if len(group) % most and (key := _content(prompt)) not in self._places:
                group[key] = prompt
        groups = []
        for length, group in by_length.items():
            items = list(group.items())
            groups += [(length, dict(items[start : start + most])) for start in range(0, len(items), most)]
        for _, group in groups:
            self._places |= {key: Future() for key in group}
        return groups

    def _length(self, prompt: EncodedPrompt) -> int:
        """As how many positions a prompt is read."""
        return next(length for length in self.lengths if prompt.size <= length)

    def _keep(self, pool: Pool, keys: list[bytes]) -> None:
        with self._lock:
            size = sum(leaf.nbytes for leaf in jax.tree.leaves(pool))
            self._pools[id(pool)] = size, keys
            self._bytes += size
            for place, key in enumerate(keys):
                self._places[key].set_result((pool, place))

    def _fail(self, keys: Sequence[bytes], error: BaseException) -> None:
        """Later calls try again."""
        with self._lock:
            for key in keys:
                self._places.pop(key).set_exception(error)

    def _forget(self) -> None:
        """Drops the pools that were not needed for longest."""
        while self._bytes > _KEPT_BYTES and len(self._pools) > 1:
            _, (size, keys) = self._pools.popitem(last=False)
            self._bytes -= size
            for key in keys:
                del self._places[key]


def _content(prompt: EncodedPrompt) -> bytes:
    """What is equal where prompts are read alike."""
    leaves: list[Any] = jax.tree.leaves(prompt.value)
    return b"".join(np.asarray(leaf).tobytes() + b"|" for leaf in leaves)
