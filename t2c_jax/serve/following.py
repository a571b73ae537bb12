"""A server takes over the checkpoints that a training run saves, while it answers (``t2c serve --follow``)."""

from __future__ import annotations

import gc
import json
import logging
import threading
import time
from collections.abc import Callable, MutableMapping

from t2c_jax.serve.served_model import ServedModel

log = logging.getLogger("t2c.serve")
_SECONDS = 5.0  # between two looks
_RETRY_SECONDS = 60.0  # after a checkpoint that could not be read


class Follower:
    """Looks for a later checkpoint of a model, and has it answer once its programs are compiled.

    Requests that run meanwhile are answered by the checkpoint that they began with. Both are in memory until then.
    """

    def __init__(
        self,
        models: MutableMapping[str, ServedModel],
        name: str,
        newest: Callable[[], int | None],
        load: Callable[[int], ServedModel],
        seconds: float = _SECONDS,
    ) -> None:
        """Does nothing yet.

        Args:
          models: what answers, by name; a later checkpoint is put in the place of an earlier one.
          name: of the model that is followed.
          newest: the step of the checkpoint that should answer; None where there is none.
          load: reads a checkpoint.
          seconds: between two looks.
        """
        self._models, self._name = models, name
        self._newest, self._load, self._seconds = newest, load, seconds
        self._failed: tuple[int | None, float] = -1, 0.0  # a step, and when it may be tried again
        self._has_replaced = False
        self._ends = threading.Event()

    def run(self) -> None:
        """Follows until ``close``."""
        while not self._ends.wait(self._seconds):
            if self._models[self._name].is_ready:
                self.look()

    def close(self) -> None:
        """Takes over no more."""
        self._ends.set()

    def look(self) -> None:
        """Takes over a later checkpoint, if there is one. What cannot be read changes nothing, and is logged."""
        if self._has_replaced:  # its last answers are out; what refers to itself would keep its arrays for long
            self._has_replaced = False
            gc.collect()
        step: int | None = None
        old = self._models[self._name]
        try:
            step = self._newest()
            if step is None or step <= old.step or self._has_failed(step):
                return
            begin = time.monotonic()
            new = self._load(step)
            try:
                new.warm_up()
            except Exception:
                new.close(drain=False)
                raise
        except Exception as error:
            if not self._has_failed(step):
                what = "the checkpoints" if step is None else f"checkpoint {step}"
                kept = "%s of '%s' cannot be read; checkpoint %s still answers"
                log.warning(kept, what, self._name, old.step, exc_info=error)
                self._failed = step, time.monotonic() + _RETRY_SECONDS
            return
        self._models[self._name] = new  # before the old one is closed: who comes too late for that finds this one
        seconds = round(time.monotonic() - begin, 2)
        log.info(
            json.dumps({"message": "checkpoint taken over", "model": self._name, "step": step, "seconds": seconds})
        )
        old.close(drain=True)
        self._has_replaced = True

    def _has_failed(self, step: int | None) -> bool:
        """Whether it is too early to try again."""
        return step == self._failed[0] and time.monotonic() < self._failed[1]
