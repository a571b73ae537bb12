"""Checkpoints on object stores: what Orbax has to be told.

On ``gs://`` it writes by itself: no rename there, but a file that is written last (``commit_success.txt``).
TensorStore, which writes its arrays, knows ``s3://`` too, and so does etils, which writes its other files; Orbax 0.12.8
between them takes all but ``gs://`` for a local path. ``prepare`` puts that right in the three functions where it does.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from t2c_jax import runtime

S3 = "s3://"


def absolute(directory: Path) -> Path:
    """A directory as Orbax wants it; a URL is so already."""
    return directory.absolute() if isinstance(directory, Path) else directory


@contextlib.contextmanager
def by_one_process(directory: Path) -> Iterator[bool]:
    """Whether this process is to move something; the others wait. On a disk all may try, for a rename is one act."""
    if isinstance(directory, Path):
        yield True
        return
    try:
        yield runtime.is_primary()
    finally:
        runtime.barrier("moved")


def prepare(directory: Path) -> dict[str, Any]:
    """Options of ``CheckpointManagerOptions`` that a directory wants."""
    if not os.fspath(directory).startswith(S3):
        return {}
    _teach_s3()
    return {"temporary_path_class": ocp.path.atomicity.CommitFileTemporaryPath}


@functools.cache
def _teach_s3() -> None:
    # Its own, and not promised to stay where they are: asked for where they are needed alone.
    from orbax.checkpoint._src.path import gcs_utils
    from orbax.checkpoint._src.serialization import tensorstore_utils

    of_gcs, uses, normalized = (
        gcs_utils.get_kvstore_for_gcs,
        tensorstore_utils._use_gcs_driver,
        tensorstore_utils._normalize_path,
    )

    def kvstore(path: str) -> dict[str, Any]:
        if not path.startswith(S3):
            return of_gcs(path)
        bucket, _, key = path.removeprefix(S3).partition("/")
        spec = {"driver": "s3", "bucket": bucket, "path": key}
        if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
            region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
            spec |= {"endpoint": endpoint, "aws_region": region}
        return spec

    gcs_utils.get_kvstore_for_gcs = kvstore
    tensorstore_utils._use_gcs_driver = lambda path: path.startswith(S3) or uses(path)
    tensorstore_utils._normalize_path = lambda path: normalized(path).replace("s3:/", S3)
