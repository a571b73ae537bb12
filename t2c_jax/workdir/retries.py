"""Retries transient file-system errors (EIO, ESTALE, ...) with back-off."""

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
WAITS = (1.0, 4.0, 16.0, 64.0)  # seconds between attempts


def with_retries(action: Callable[[], Result], failure: str) -> Result:
    """Calls ``action``, again after each of ``WAITS`` while it fails with a transient I/O error.

    Args:
      action: safe to repeat, also where it succeeded but its answer was lost.
      failure: begins the warning, such as "cannot read 'PATH'".

    Raises:
      OSError: another error, or a transient one at the last attempt.
    """
    for wait in WAITS:
        try:
            return action()
        except OSError as error:
            if error.errno not in TRANSIENT:
                raise
            console.warn(f"{failure}: {error.strerror}; trying again in {wait:g} s")
            time.sleep(wait)
    return action()
