"""Downloads the published files of a set: each whole or not at all, checked, and tried again where that may help."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from t2c_jax import console
from t2c_jax.corpus.sets.published_files import NotAsPublished, PublishedFile, file_digest

WAITS = (1.0, 4.0, 16.0)
"""Seconds between attempts."""
_TIMEOUT = 60  # seconds without a byte
_TRY_AGAIN = frozenset((408, 425, 429))  # besides the errors of servers


class _TryAgain(Exception):
    """A failure that may pass; the message says what failed."""


def download_all(published: Sequence[PublishedFile], directory: Path) -> dict[str, Path]:
    """The files of a set by their URL; those that are in the directory already are not downloaded again.

    Args:
      published: the files. Optional ones are left out.
      directory: where downloads are kept.

    Raises:
      NotAsPublished: one has to be downloaded by hand, cannot be downloaded, or has another digest than published.
    """
    needed = [file for file in published if not file.optional]
    by_hand = [file.name for file in needed if file.by_hand]
    if by_hand:
        raise NotAsPublished(f"{', '.join(by_hand)} cannot be downloaded")
    return {file.url: download(file, directory) for file in needed}


def download(file: PublishedFile, directory: Path) -> Path:
    """A published file, which is kept under its name in a directory of its URL's.

    Raises:
      NotAsPublished: it cannot be downloaded, or has another digest than the published file.
    """
    path = directory / hashlib.sha256(file.url.encode()).hexdigest()[:16] / file.name
    if path.is_file() and not _differs(file, path):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    console.say(f"downloading {file.url}")
    try:
        for wait in (*WAITS, None):
            try:
                _fetch(file.url, partial)
                if reason := _differs(file, partial):
                    raise _TryAgain(reason)
            except _TryAgain as failure:
                if wait is None:
                    raise NotAsPublished(f"cannot download {file.url}: {failure}") from None
                console.warn(f"cannot download {file.url}: {failure}; trying again in {wait:g} s")
                time.sleep(wait)
            else:
                partial.replace(path)
                break
    finally:
        partial.unlink(missing_ok=True)
    return path


def _differs(file: PublishedFile, path: Path) -> str:
    """How a file differs from the published one; empty if it does not."""
    if not file.digest or file_digest(path, file.digest.partition(":")[0]) == file.digest:
        return ""
    return f"it has changed, or was cut: its digest is not {file.digest}"


def _fetch(url: str, path: Path) -> None:
    """Writes what a URL holds.

    Raises:
      NotAsPublished: the server refuses it.
      _TryAgain: the connection, or the server.
    """
    try:
        opener = urllib.request.build_opener()  # with today's proxies
        with opener.open(url, timeout=_TIMEOUT) as response, path.open("wb") as stream:
            shutil.copyfileobj(response, stream)
            expected = response.headers.get("Content-Length")
            if expected is not None and stream.tell() != int(expected):
                raise _TryAgain(f"only {stream.tell():,} of {int(expected):,} bytes came")
    except urllib.error.HTTPError as error:
        error.close()
        answer = f"the server answers {error.code} {error.reason}"
        if error.code >= 500 or error.code in _TRY_AGAIN:
            raise _TryAgain(answer) from None
        raise NotAsPublished(f"cannot download {url}: {answer}") from None
    except urllib.error.URLError as error:
        raise _TryAgain(str(getattr(error.reason, "strerror", None) or error.reason)) from None
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _TryAgain(str(error) or type(error).__name__) from None
