"""Stages, each of which finishes completely or leaves nothing.

A stage is a function of (config, workdir) that writes one directory with a ``manifest.json``: digests of its inputs,
the part of the config that it read, counts and versions. ``Stages.stage`` skips one whose manifest still matches.
Otherwise the stage writes to a temporary directory, which is then renamed.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2c_jax import version
from t2c_jax.config import Section, filled, to_dict
from t2c_jax.config.differences import differences
from t2c_jax.errors import UserError
from t2c_jax.workdir.io import digest, disk_errors, write_json
from t2c_jax.workdir.paths import MANIFEST, Paths
from t2c_jax.workdir.retries import with_retries

StageConfig = Section | Mapping[str, Any]
_TRAINED_ON = ("corpus", "tokenizer", "tokens", "retrieval")


@dataclass(frozen=True)
class StageResult:
    """A finished stage.

    Attributes:
      path: its directory.
      manifest: the content of its manifest.
      ran: False if it was skipped, since its result was there.
    """

    path: Path
    manifest: dict[str, Any]
    ran: bool


class Stages(Paths):
    """The finished stages of a run, and running one that is not."""

    def manifest(self, name: str) -> dict[str, Any]:
        """The manifest of a finished stage.

        Raises:
          UserError: the stage has not run here, or its manifest is damaged.
        """
        path = self.current(name) / MANIFEST
        try:
            manifest = json.loads(with_retries(lambda: path.read_text("utf-8"), f"cannot read '{path}'"))
            if not isinstance(manifest, dict):
                raise ValueError("not an object")
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(f"'{self.name}' holds no finished {name}; run the stage before, or t2c run") from None
        except ValueError:
            raise UserError(f"'{path}' is damaged; delete '{path.parent}' and run again") from None
        return manifest

    def finished_under(self, directory: str) -> list[str]:
        """The names of the finished stages of a directory, such as ``evaluations``, sorted."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            names = [name for name in self._listed(directory) if not name.startswith(".")]
            return [f"{directory}/{name}" for name in sorted(names) if self._has_manifest(f"{directory}/{name}")]
        return []

    def _listed(self, directory: str) -> list[str]:
        if self.remote is not None:
            return self.remote.names(directory)
        return [path.name for path in (self.path / directory).iterdir()]

    def _has_manifest(self, name: str) -> bool:
        if self.remote is not None:
            return self.remote.read(f"{name}/{MANIFEST}") is not None
        return (self.path / name / MANIFEST).is_file()

    def digest(self, name: str) -> str:
        """A finished stage as the input of a later one: the digest of its manifest without its duration."""
        manifest = {field: value for field, value in self.manifest(name).items() if field != "seconds"}
        return digest(json.dumps(manifest, sort_keys=True))

    def finished(
        self, name: str, config: StageConfig, inputs: Mapping[str, str], made_by: Mapping[str, str] | None = None
    ) -> StageResult | None:
        """The stage's result if it was made of the same config and inputs by the same versions, else None."""
        key = _key(name, config, inputs, made_by)

        def matching(content: bytes | None) -> dict[str, Any] | None:
            with contextlib.suppress(ValueError):
                manifest = json.loads(content or b"null")
                if isinstance(manifest, dict):
                    stored = {field: manifest.get(field) for field in key}
                    if {**stored, "config": _filled(config, stored["config"])} == key:
                        return manifest
            return None

        path = self.path / name / MANIFEST
        if self.remote is not None and matching(self.remote.read(f"{name}/{MANIFEST}")) is not None:
            self.current(name)  # replaces a result that this machine made of the same: others have read the store's
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if (manifest := matching(with_retries(path.read_bytes, f"cannot read '{path}'"))) is not None:
                return StageResult(path.parent, manifest, ran=False)
        return None

    def stage(
        self,
        name: str,
        config: StageConfig,
        inputs: Mapping[str, str],
        build: Callable[[Path], Mapping[str, Any]],
        made_by: Mapping[str, str] | None = None,
    ) -> StageResult:
        """Runs ``build`` unless the directory ``name`` already holds its result.

        A stage that checkpoints were trained on is never replaced: with another tokenizer they answer nothing, and with
        another corpus the run would resume with other batches. So it is also kept if only the package, or what it was
        made by, has changed.

        Args:
          name: the directory under the workdir; ``a/b`` is one level deeper.
          config: the section of the config that the stage reads; or sections and plain values by name. A manifest that
            lacks a field of a section was written before the field existed, and still matches (``config.filled``).
          inputs: a digest for each thing it reads.
          build: writes into the directory it is given and returns the counts for the manifest.
          made_by: versions of parts of the package, or of libraries, that decide what the result is.

        Raises:
          UserError: the disk is full or read-only, and nothing that looks finished is left; or the workdir has
            checkpoints that were trained on what would be replaced.
        """
        done = self.finished(name, config, inputs, made_by) or self._kept(name, config, inputs)
        if done is None:
            done = self._run(name, _key(name, config, inputs, made_by), build)
        self._publish(name)
        return done

    def _run(self, name: str, key: Mapping[str, Any], build: Callable[[Path], Mapping[str, Any]]) -> StageResult:
        final = self.path / name
        new, old = (final.with_name(f".{final.name}.{version}.partial") for version in ("new", "old"))
        started = time.monotonic()
        with disk_errors(self.path):
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            try:
                counts = build(new)
                manifest = {**key, "counts": dict(counts), "seconds": round(time.monotonic() - started, 1)}

                def rename() -> None:
                    if new.exists():  # else an attempt before succeeded, and its answer was lost
                        write_json(new / MANIFEST, manifest)
                        if final.exists():  # renamed, not deleted: half deleted, it might still look finished
                            shutil.rmtree(old, ignore_errors=True)
                            final.rename(old)
                        new.rename(final)

                with_retries(rename, f"cannot write '{final}'")
                shutil.rmtree(old, ignore_errors=True)
            except BaseException:
                shutil.rmtree(new, ignore_errors=True)
                raise
        return StageResult(final, manifest, ran=True)

    def _kept(self, name: str, config: StageConfig, inputs: Mapping[str, str]) -> StageResult | None:
        """A stage that checkpoints were trained on, made by other versions."""
        if name not in _TRAINED_ON or not self.checkpoint_steps():
            return None
        try:
            manifest = self.manifest(name)
        except UserError:
            return None  # missing or damaged: it may be made again
        key = _key(name, config, inputs, None)
        changed = [
            f"config.{path}" for path, _, _ in differences(_filled(config, manifest.get("config")), key["config"])
        ]
        changed += [path for path, _, _ in differences(manifest.get("inputs", {}), key["inputs"])]
        if changed:
            listed = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
            raise UserError(
                f"'{self.name}' has checkpoints that were trained on its {name}, which would change ({listed}): use"
                f" another --workdir, or delete '{self.checkpoints}' to train from the start"
            )
        return StageResult(self.path / name, manifest, ran=False)

    def _publish(self, name: str) -> None:
        """Writes a stage to the object store, if there is one that does not have it."""
        directory = self.path / name
        if self.remote is not None and self.remote.read(f"{name}/{MANIFEST}") != (directory / MANIFEST).read_bytes():
            self.remote.put(directory, name, MANIFEST)


def _plain(config: StageConfig) -> Any:
    if isinstance(config, Mapping):
        return {name: _plain(value) for name, value in config.items()}
    return to_dict(config) if isinstance(config, Section) else config


def _filled(config: StageConfig, stored: Any) -> Any:
    """A stored config with the fields of its sections that did not exist when it was stored."""
    if isinstance(stored, Mapping):
        if isinstance(config, Section):
            return filled(config, stored)
        if isinstance(config, Mapping):
            return {name: _filled(config.get(name, {}), value) for name, value in stored.items()}
    return stored


def _key(
    name: str, config: StageConfig, inputs: Mapping[str, str], made_by: Mapping[str, str] | None
) -> dict[str, Any]:
    key = {"stage": name, "version": version.__version__, "config": _plain(config), "inputs": dict(inputs)}
    if made_by:
        key["made_by"] = dict(made_by)
    return json.loads(json.dumps(key))  # as it reads back: tuples are lists
