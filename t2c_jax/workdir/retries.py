"""What a network file system says while it or its server has a hitch, and doing it again."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from t2c_jax import console

Result = TypeVar("Result")

TRANSIENT = frozenset(
    (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EREMOTEIO, errno.ENOTCONN, errno.ECONNRESET)
)
WAITS = (1.0, 4.0, 16.0, 64.0)  # seconds between trials


def retried(action: Callable[[], Result], what: str) -> Result:
    """Does it, again after each of ``WAITS`` where a file system has a hitch; ``what`` then says what went wrong.

    Raises:
      OSError: it went wrong in another way, or still after the last of them.
    """
    for wait in WAITS:
        try:
            return action()
        except OSError as error:
            if error.errno not in TRANSIENT:
                raise
            console.warn(f"{what}: {error.strerror}; trying again in {wait:g} s")
            time.sleep(wait)
    return action()
