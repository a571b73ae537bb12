"""A queue in which clients take turns, so that one with many prompts does not keep the others waiting."""

from __future__ import annotations

import itertools
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_NONE: Any = object()


class FairQueue(Generic[T]):
    """First in, first out for each client; between clients one item each, in turn. One thread at a time uses it."""

    def __init__(self) -> None:
        """Empty."""
        self._queues: OrderedDict[str, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def put(self, client: str, item: T) -> None:
        """Adds an item; a client that had none is the last one in turn."""
        self._queues.setdefault(client, deque()).append(item)

    def take(self) -> T:
        """The next item.

        Raises:
          IndexError: there is none.
        """
        if not self._queues:
            raise IndexError("the queue is empty")
        client, queue = next(iter(self._queues.items()))
        item = queue.popleft()
        del self._queues[client]
        if queue:
            self._queues[client] = queue
        return item

    def upcoming(self, count: int) -> list[T]:
        """The items that ``take`` gives next, so many at most."""
        turns = itertools.zip_longest(*self._queues.values(), fillvalue=_NONE)
        items = (item for turn in turns for item in turn if item is not _NONE)
        return list(itertools.islice(items, count))

    def remove(self, is_gone: Callable[[T], bool]) -> list[T]:
        """Removes and returns the items of which that is true."""
        gone = []
        for client, queue in list(self._queues.items()):
            kept = deque(item for item in queue if not is_gone(item))
            if len(kept) < len(queue):
                gone += [item for item in queue if is_gone(item)]
                if kept:
                    self._queues[client] = kept
                else:
                    del self._queues[client]
        return gone
