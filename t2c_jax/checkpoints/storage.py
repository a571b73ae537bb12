"""What a file system may answer to Orbax, and when it is asked again; JSON not known yet; which device writes what."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp

from t2c_jax.workdir import disk_errors, remote
from t2c_jax.workdir.retries import TRANSIENT, with_retries

Result = TypeVar("Result")
# Orbax's own handler, before ``write_small_arrays_whole``: arrays are written in chunks of a given size by it alone.
CHUNKS = ocp.type_handlers.create_type_handler_registry((jax.Array, ocp.type_handlers.get_type_handler(jax.Array)))


@contextlib.contextmanager
def as_os_errors() -> Iterator[None]:
    """TensorStore's ValueErrors as the OSErrors that they come from: the kernel's number stands in their text alone.

    What the clients of object stores raise too.
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


def patiently(action: Callable[[], Result], what: str) -> Result:
    """``with_retries``, for TensorStore too; of several processes none tries again alone, for Orbax makes them wait.

    Raises:
      OSError: as ``with_retries``.
    """

    def translated() -> Result:
        with as_os_errors():
            return action()

    return with_retries(translated, what) if jax.process_count() == 1 else translated()


def undisturbed(look: Callable[[], Result], times: int = 10) -> Result:
    """What a look at files gives that another process deletes meanwhile: taken again where one went under its eyes.

    Raises:
      FileNotFoundError, NotADirectoryError: each time.
    """
    for _ in range(times - 1):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return look()
    return look()


class Later(dict[str, Any]):
    """A JSON object with members that are still being computed: who writes it, in the background, waits for them."""

    def __init__(self, known: Mapping[str, Any], **later: Callable[[], Any]) -> None:
        super().__init__(known)
        self._later = later

    def items(self) -> Any:
        """Of all members."""
        return {**self, **{name: value() for name, value in self._later.items()}}.items()


@functools.cache
def write_small_arrays_whole() -> None:
    """Has one device write what is less than 8 MB on eight.

    What all devices hold, each of them may write a part of. Orbax does so by default however little it is: on eight
    devices a layer's norm is eight slices, transfers and writes, and the run stands still until the last has begun.
    """
    handler = ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=2**20)
    ocp.type_handlers.register_type_handler(jax.Array, handler, override=True)
