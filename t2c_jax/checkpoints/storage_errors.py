"""Errors of TensorStore and of object stores as the OSErrors that they come from, and another try after them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import jax

from t2c_jax.workdir import disk_errors, remote
from t2c_jax.workdir.retries import TRANSIENT, with_retries

Result = TypeVar("Result")


@contextlib.contextmanager
def as_os_errors() -> Iterator[None]:
    """Raises TensorStore's ValueErrors, and what clients of object stores raise, as OSErrors.

    TensorStore gives the kernel's error number in its message alone.
    """
    try:
        with remote.as_os_errors():
            yield
    except ValueError as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        number = int(code[1]) if code else errno.ENOSPC if "RESOURCE_EXHAUSTED" in str(error) else 0
        if number not in (errno.ENOSPC, *TRANSIENT):
            raise
        raise OSError(number, os.strerror(number)) from error


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """``disk_errors``, for TensorStore too."""
    with disk_errors(path), as_os_errors():
        yield


def with_storage_retries(action: Callable[[], Result], what: str) -> Result:
    """Repeats an action that fails with a transient I/O error, TensorStore's too.

    Among several processes there is no second try: Orbax makes them wait for each other, and one would retry alone.

    Args:
      action: what to do.
      what: what to say has failed.

    Raises:
      OSError: the error is not transient, or came each time.
    """

    def translated() -> Result:
        with as_os_errors():
            return action()

    return with_retries(translated, what) if jax.process_count() == 1 else translated()


def retry_if_deleted(read: Callable[[], Result], times: int = 10) -> Result:
    """Repeats a read of files that another process deletes meanwhile.

    Raises:
      FileNotFoundError, NotADirectoryError: a file was missing each time.
    """
    for _ in range(times - 1):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return read()
    return read()
