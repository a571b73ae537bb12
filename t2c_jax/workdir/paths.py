"""Where the parts of a run lie: on this machine's disk, or on an object store with a copy on this machine.

WORKDIR/
  config.json            the resolved config
  corpus/                the cleaned pairs, with card.md
  tokenizer/             the tokenizer and its lossless proof
  tokens/                tokenised pairs
  retrieval/             index over the training pairs, and each pair's neighbours; with config.data.retrieve
  checkpoints/           Orbax
  metrics.jsonl tb/      what training logged
  evaluations/NAME/      scores, predictions and a report
  rerank/NAME/           a reranker of one checkpoint and one search, and what it gains
  reviews/NAME.jsonl     a reviewer's ratings of answers
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from t2c_jax.errors import UserError
from t2c_jax.workdir.io import disk_errors, write_bytes, write_json
from t2c_jax.workdir.remote import Remote, is_remote

MANIFEST = "manifest.json"  # in the directory of each finished stage


def at_step(name: str) -> tuple[str, int | None]:
    """Splits ``DIR``, ``DIR@STEP`` or ``@STEP`` into a directory, empty for this run's, and a step, None for the best.

    Raises:
      UserError: what follows the @ is no step; the message begins with ``name``.
    """
    directory, separator, step = name.rpartition("@")
    if not separator or "/" in step:  # the @ belongs to the path
        return name, None
    if step and not step.isdecimal():
        raise UserError(f"{name}: '{step}' is no step; write DIR, DIR@STEP or @STEP, and DIR/ if its name has an @")
    return directory, int(step) if step else None


class Paths:
    """The paths of one run.

    Behind a URL is a directory on an object store, which is authoritative, and this machine's copy of it. A stage is
    built in the copy and then written to the store; a stage that the store has is fetched when it is asked for.
    Checkpoints are on the store alone.

    Attributes:
      name: as it was given: a directory or a URL.
      path: the directory, or the copy.
      remote: the object store, if the name is a URL.
    """

    def __init__(self, name: str | os.PathLike[str]) -> None:
        self.name = os.fspath(name)
        self.remote = Remote(self.name) if is_remote(name) else None
        self.path = Path(name) if self.remote is None else self.remote.copy

    @property
    def title(self) -> str:
        """The last part of its path."""
        return self.path.resolve().name if self.remote is None else PurePath(self.remote.url).name

    @property
    def corpus(self) -> Path:
        """The directory of the cleaned pairs."""
        return self.current("corpus")

    @property
    def tokenizer(self) -> Path:
        """The directory of the tokenizer."""
        return self.current("tokenizer")

    @property
    def tokens(self) -> Path:
        """The directory of the tokenised pairs."""
        return self.current("tokens")

    @property
    def retrieval(self) -> Path:
        """The directory of the index over the training pairs."""
        return self.current("retrieval")

    @property
    def metrics(self) -> Path:
        """One JSON object a logged step."""
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """The directory of TensorBoard's event files."""
        return self.path / "tb"

    @property
    def checkpoints(self) -> Path:
        """The directory of the checkpoints; of a URL an ``epath.Path``, which has no links and locks."""
        if self.remote is None:
            return self.path / "checkpoints"
        return self.remote.directory("checkpoints")

    def checkpoint_steps(self) -> set[int]:
        """The steps of the checkpoints here; some may be damaged or unfinished."""
        with contextlib.suppress(
            FileNotFoundError, NotADirectoryError, UserError
        ):  # UserError: no store for checkpoints
            return {int(path.name) for path in self.checkpoints.iterdir() if path.name.isdecimal()}
        return set()

    @property
    def config(self) -> Path:
        """The resolved config, fetched from the object store if there is one."""
        path = self.path / "config.json"
        if self.remote is not None and (content := self.remote.read(path.name)) is not None:
            self.write_copy(path, content)
        return path

    def save_config(self, values: Mapping[str, Any]) -> None:
        """Writes the resolved config."""
        path = self.path / "config.json"
        with disk_errors(path):
            write_json(path, values)
        if self.remote is not None:
            self.remote.write(path.name, path.read_bytes())

    def current(self, stage: str) -> Path:
        """The directory of a stage; of a URL, fetched if the object store has another one than the copy."""
        if self.remote is not None:
            with disk_errors(self.path):
                self.remote.fetch(stage, MANIFEST)
        return self.path / stage

    def text(self, name: str) -> str:
        """The content of a file of the run, from the object store if there is one; empty if the file is missing."""
        if self.remote is not None:
            return (self.remote.read(name) or b"").decode("utf-8")
        path = self.path / name
        return path.read_text("utf-8") if path.exists() else ""

    def write_copy(self, path: Path, content: bytes) -> None:
        """Writes this machine's copy of a remote file, unless it is equal already."""
        if not path.is_file() or path.read_bytes() != content:
            with disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(path, content)
