"""Iterators that run at once, each in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Shared(Generic[T]):
    """Items of which each goes to the thread that asks first."""

    def __init__(self, items: Iterable[T]) -> None:
        """Reads none yet."""
        self._items, self._lock = iter(items), threading.Lock()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._lock:
            return next(self._items)


def together(makers: Sequence[Callable[[], Iterator[T]]]) -> Iterator[T]:
    """The items of several iterators, as they come. Each is made and read in a thread; a single one in the caller's.

    What an iterator raises is raised here. Then, or when the caller wants no more items, the others are stopped at
    their next item, and waited for.
    """
    if len(makers) == 1:
        yield from makers[0]()
        return
    items: SimpleQueue[T | Future[None]] = SimpleQueue()
    is_stopped = threading.Event()

    def run(make: Callable[[], Iterator[T]]) -> None:
        for item in make():
            if is_stopped.is_set():
                break
            items.put(item)

    with ThreadPoolExecutor(len(makers)) as pool:
        for make in makers:
            pool.submit(run, make).add_done_callback(items.put)
        running = len(makers)
        try:
            while running:
                item = items.get()
                if isinstance(item, Future):
                    item.result()
                    running -= 1
                else:
                    yield item
        finally:
            is_stopped.set()
