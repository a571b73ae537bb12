"""Checkpoints: plain nested dicts on disk through Orbax, written in the background, restored onto any mesh.

A checkpoint holds ``state`` (step, params or adapters, opt_state, ema: nested dicts of named arrays), ``run`` (the
metadata that a checkpoint and a run must agree on) and ``loop`` (metrics of steps that are not logged yet, the state of
the loop's hooks, checksums of the arrays). Restoring goes through an abstract state with the target's shardings, and
every array must be there: a parameter without a source is an error.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from t2c_jax import console
from t2c_jax.checkpoints import object_stores
from t2c_jax.checkpoints.array_handlers import CHUNKS, write_small_arrays_whole
from t2c_jax.checkpoints.lazy_json import LazyJson
from t2c_jax.checkpoints.metadata import mismatch
from t2c_jax.checkpoints.pytrees import begin_checksums, changed, from_nested, host_checksums, shapes, to_nested
from t2c_jax.checkpoints.storage_errors import as_os_errors, retry_if_deleted, storage_errors, with_storage_retries
from t2c_jax.errors import UserError
from t2c_jax.workdir import digest, disk_errors, move_aside
from t2c_jax.workdir.retries import TRANSIENT

DAMAGED = "damaged"
_MOST_FAILURES = 3
LOSS = "loss"  # the held-out loss, which ranks checkpoints by default


class Ranking(NamedTuple):
    """What a checkpoint is ranked by instead of its held-out loss.

    Attributes:
      by: the metric's name.
      cost: its value, or the negative of a metric of which more is better.
    """

    by: str
    cost: float


class Checkpoints:
    """The checkpoints of one run: the latest few, and the best by held-out loss or by another metric."""

    def __init__(
        self,
        directory: Path,
        metadata: Mapping[str, Any],
        *,
        keep: int = 1,
        ranked_by: str = LOSS,
        read_only: bool = False,
    ) -> None:
        """Opens the directory, making it unless ``read_only``.

        Args:
          directory: ``WORKDIR/checkpoints``; on an object store an ``epath.Path``.
          metadata: what a checkpoint and the run must agree on (``metadata.metadata``).
          keep: latest checkpoints to keep.
          ranked_by: the metric by which the best is kept; a checkpoint that was ranked by another comes last.
        """
        self.directory, self._metadata = object_stores.absolute(directory), json.loads(json.dumps(metadata))
        self._write: Callable[[], Any] | None = None  # repeats the save that may still be in progress
        self._failures = 0  # writes that failed in a row
        policies = ocp.checkpoint_managers

        def cost(metrics: Any) -> float:
            by, value = _ranking(metrics)
            return value if by == ranked_by else float("inf")

        write_small_arrays_whole()
        self._options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(keep),
                    policies.BestN(
                        get_metric_fn=cost,
                        reverse=True,
                        n=1,
                        keep_checkpoints_without_metrics=False,
                    ),
                ]
            ),
            best_fn=cost,  # without it Orbax writes no metrics, and no process after this one knows the best
            best_mode="min",
            read_only=read_only,
            create=not read_only,
            cleanup_tmp_directories=not read_only,
            **object_stores.prepare(directory),
        )
        self._manager = retry_if_deleted(self._open) if read_only else self._open()

    def _open(self) -> ocp.CheckpointManager:
        handlers = {
            "state": ocp.StandardCheckpointHandler(),
            "run": ocp.JsonCheckpointHandler(),
            "loop": ocp.JsonCheckpointHandler(),
        }
        with storage_errors(self.directory):
            metrics = [(path, path.read_bytes()) for path in self.directory.glob("*/metrics/metrics")]
        for path, content in metrics:  # Orbax reads them all as it opens, damaged or not
            try:
                json.loads(content.decode("utf-8"))
            except ValueError as error:
                step = path.parents[1].name
                if self._options.read_only:
                    raise UserError(f"'{path}' is damaged; t2c train quarantines such a checkpoint") from None
                self._quarantine_files(step, error)
        with storage_errors(self.directory):
            return ocp.CheckpointManager(self.directory, options=self._options, item_handlers=handlers)

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        return sorted(self._manager.all_steps()) if self.directory.is_dir() else []

    def best(self) -> int | None:
        """The best by the metric that ranks the latest measured checkpoint; the latest one where none was measured.

        Of equally good ones it is the latest.
        """
        steps = self.steps()
        rankings = {step: _ranking(metrics) for step in steps if (metrics := self._metrics(step))}
        if not rankings:
            return steps[-1] if steps else None
        by = rankings[max(rankings)].by
        return min((ranking.cost, -step, step) for step, ranking in rankings.items() if ranking.by == by)[-1]

    def loss(self, step: int) -> float | None:
        """The held-out loss measured at that step; None where there is none that can be read."""
        metrics = self._metrics(step)
        return metrics["loss"] if metrics else None

    def _metrics(self, step: int) -> Any:
        try:
            return self._manager.metrics(step)
        except ValueError:
            return None

    def notes(self, step: int) -> dict[str, Any]:
        """The state of the loop's hooks, as ``save`` got it."""
        return {name: note for name, note in self._loop(step).items() if name != "checksums"}

    def metadata(self, step: int) -> dict[str, Any]:
        """What the checkpoint says it is of."""
        return self._manager.restore(step, args=ocp.args.Composite(run=ocp.args.JsonRestore()))["run"]

    def _loop(self, step: int) -> dict[str, Any]:
        return self._manager.restore(step, args=ocp.args.Composite(loop=ocp.args.JsonRestore()))["loop"]

    def save(
        self,
        step: int,
        state: Any,
        loss: float | None,
        *,
        ranking: Ranking | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """Starts to write the state; returns once it is copied, so that the caller may donate it.

        Args:
          step: names the checkpoint.
          state: the state after that step.
          loss: held-out loss, where it was measured at that step.
          ranking: what to rank it by instead of the loss.
          notes: the state of the loop's hooks after that step, JSON values by name. They are copied: the file is
            written while the next steps change them.

        Where the background write of the checkpoint before failed with a transient error, a warning says so; this
        checkpoint takes its place, since that state is gone.

        Raises:
          UserError: the disk is full or read-only, or several writes in a row failed.
        """
        nested = to_nested(state)
        loop = LazyJson(copy.deepcopy(dict(notes or {})), checksums=begin_checksums(nested))
        if jax.default_backend() == "cpu":  # Orbax writes from the arrays themselves, which the next step overwrites
            nested = jax.tree.map(jnp.copy, nested)
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(nested),
            run=ocp.args.JsonSave(self._metadata),
            loop=ocp.args.JsonSave(loop),
        )
        metrics = None if loss is None else {"loss": loss, **({} if ranking is None else ranking._asdict())}
        with disk_errors(self.directory):
            try:
                self._finish()
            except OSError as error:
                if error.errno not in TRANSIENT or self._failures == _MOST_FAILURES or jax.process_count() > 1:
                    raise
                self._failures += 1
                console.warn(f"a checkpoint was not written ({error.strerror}); that of step {step} takes its place")
            self._write = functools.partial(self._manager.save, step, args=args, metrics=metrics, force=True)
            with_storage_retries(self._write, f"cannot write '{self.directory}'")

    def _finish(self) -> None:
        """Waits for the write in progress.

        Raises:
          OSError: it failed.
        """
        with as_os_errors():
            self._manager.wait_until_finished()
        self._failures, self._write = 0, None

    @property
    def writing(self) -> bool:
        """Whether a save is in progress in the background."""
        return self._manager.is_saving_in_progress()

    def wait(self) -> None:
        """Waits until everything is on disk; repeats a write that failed with a transient error.

        Raises:
          UserError: the disk is full or read-only, or the write failed several times.
        """
        again = False

        def finish() -> None:
            nonlocal again
            if again and self._write is not None:
                self._write()
            again = True
            self._finish()

        with disk_errors(self.directory):
            with_storage_retries(finish, f"cannot write '{self.directory}'")

    def restore_latest(self, abstract: Any) -> tuple[int, Any] | None:
        """The newest state that can be read, with its step; None where there is no checkpoint.

        A checkpoint that cannot be read is moved to ``damaged/`` with a warning, and the one before is restored.

        Args:
          abstract: ``jax.ShapeDtypeStruct`` with shardings for every array of the state.

        Raises:
          UserError: checkpoints of another model or tokenizer; or there are some, and none can be read.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                with disk_errors(self.directory):  # a failing file system does not mean a damaged checkpoint
                    read = functools.partial(self.restore, step, abstract)
                    return step, with_storage_retries(read, f"cannot read checkpoint {step}")
            except UserError:
                raise
            except Exception as error:  # whatever Orbax meets in a damaged directory
                self._quarantine(step, error)
        if steps:
            raise UserError(
                f"no checkpoint in '{self.directory}' can be read; they are in '{self.directory / DAMAGED}' now:"
                " delete that directory to train from the start"
            )
        return None

    def restore(self, step: int, abstract: Any) -> Any:
        """One state, laid out as ``abstract`` says.

        Raises:
          UserError: of another model or tokenizer, or an array is missing or of another shape.
          ValueError: an array is not what was saved.
        """
        self._check_metadata(step, self.metadata(step))
        target = to_nested(abstract)
        self._check_arrays(step, target)
        nested = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target, strict=True))
        )["state"]
        self._check_sums(self._loop(step)["checksums"], nested)
        return from_nested(abstract, nested)

    def restore_params(self, step: int, abstract_params: Any) -> Any:
        """The trained parameters, or adapters, alone; their moving average where the run kept one.

        Raises:
          UserError: of another model or tokenizer, or the checkpoint cannot be read.
        """
        try:
            return self._restore_params(step, abstract_params)
        except UserError:
            raise
        except Exception as error:  # whatever Orbax meets in a damaged directory
            raise UserError(
                f"checkpoint {step} in '{self.directory}' cannot be read ({_reason(error)}); choose another with --step"
            ) from error

    def params_shapes(self, step: int) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter by dotted path, whatever the model.

        Raises:
          UserError: the checkpoint cannot be read.
        """
        try:
            return shapes(self._manager.item_metadata(step)["state"].tree[_answering(self._loop(step)["checksums"])])
        except Exception as error:  # whatever Orbax meets in a damaged directory
            raise UserError(f"checkpoint {step} in '{self.directory}' cannot be read ({_reason(error)})") from error

    def restore_any_params(self, step: int, abstract_params: Any) -> Any:
        """``restore_params`` of any model with these parameters; only the metadata that was given here is compared.

        Raises:
          UserError: the checkpoint cannot be read, or is of another base.
        """
        try:
            if self._metadata:
                found = self.metadata(step)
                self._check_metadata(step, {name: found.get(name) for name in self._metadata})
            return self._read_params(step, abstract_params)
        except UserError:
            raise
        except Exception as error:  # whatever Orbax meets in a damaged directory
            raise UserError(f"checkpoint {step} in '{self.directory}' cannot be read ({_reason(error)})") from error

    def _restore_params(self, step: int, abstract_params: Any) -> Any:
        self._check_metadata(step, self.metadata(step))
        return self._read_params(step, abstract_params)

    def _read_params(self, step: int, abstract_params: Any) -> Any:
        sums = self._loop(step)["checksums"]
        name = _answering(sums)
        target = to_nested({name: abstract_params})
        with ocp.PyTreeCheckpointer() as reader:
            nested = reader.restore(
                self.directory / str(step) / "state",
                args=ocp.args.PyTreeRestore(
                    item=target,
                    restore_args=ocp.checkpoint_utils.construct_restore_args(target),
                    partial_restore=True,
                ),
            )
        self._check_sums(sums, nested)
        return from_nested({name: abstract_params}, nested)[name]

    def _check_metadata(self, step: int, found: Mapping[str, Any]) -> None:
        if (what := mismatch(self._metadata, found)) is not None:
            raise UserError(
                f"checkpoint {step} in '{self.directory}' does not fit this run: {what};"
                " restore the config that it was trained with, or choose another --workdir"
            )

    def _check_arrays(self, step: int, target: Any) -> None:
        stored, wanted = shapes(self._manager.item_metadata(step)["state"].tree), shapes(target)
        for path in sorted(wanted.keys() | stored.keys()):
            if stored.get(path) != wanted.get(path):
                raise UserError(
                    f"checkpoint {step} in '{self.directory}' does not fit this run: {path} is"
                    f" {_shape(stored.get(path))} there and {_shape(wanted.get(path))} here;"
                    " restore the config that it was trained with, or choose another --workdir"
                )

    @staticmethod
    def _check_sums(sums: Mapping[str, int], nested: Any) -> None:
        if wrong := changed(nested, sums):
            raise ValueError(f"{wrong[0]} does not have the checksum that it was saved with")

    def _quarantine(self, step: int, error: Exception) -> None:
        self._manager.close()
        self._quarantine_files(str(step), error)
        self._manager = self._open()

    def _quarantine_files(self, step: str, error: Exception) -> None:
        damaged = self.directory / DAMAGED
        console.warn(f"checkpoint {step} cannot be read ({_reason(error)}); it is moved to '{damaged}'")
        with contextlib.suppress(FileNotFoundError), object_stores.by_one_process(self.directory) as mine:
            if mine:  # else another process of this run moves it
                move_aside(self.directory / step, damaged)

    def close(self) -> None:
        """Ends the background writer, once everything is on disk.

        Raises:
          UserError: the disk is full or read-only.
        """
        with storage_errors(self.directory):
            self._manager.close()


def _answering(sums: Mapping[str, int]) -> str:
    """Which part of the state answers, by the paths of its arrays; Orbax would read the metadata of each array."""
    parts = {path.partition(".")[0] for path in sums}
    return next(name for name in ("ema", "adapters", "params") if name in parts)


def checkpoint_identity(directory: Path) -> str:
    """A digest of a checkpoint by its directory: a copy has the same one, and a run trained anew another.

    It covers the names of the data files, which are random, and the checkpoint's metadata.
    """
    data = sorted(path.name for pattern in ("d/*", "*/d/*") for path in (directory / "state").glob(pattern))
    return digest(*data, *(directory / "run").glob("metadata"))


def save_params(directory: Path, metadata: Mapping[str, Any], params: Any) -> None:
    """Writes parameters without an optimizer as checkpoint 0, which ``Checkpoints`` reads, and waits.

    Arrays are written one after the other, in chunks of 16 MB, into files of 32 MB, and as they are: compressed chunks
    wait in memory for the disk, as much as a third of the parameters, and weights hardly compress (by a fifteenth).

    Args:
      directory: ``WORKDIR/checkpoints``, without a checkpoint 0.
      metadata: what the checkpoint and a run that reads it must agree on (``metadata.metadata``).
      params: nested dicts of arrays of ``jax``; those of NumPy would be copied first.

    Raises:
      UserError: the disk is full or read-only.
    """
    # The step is an array of jax too: NumPy's have another writer, and the two overwrite each other's files.
    state = {"step": jax.device_put(np.zeros((), np.int32)), "params": params}
    limit = max(leaf.nbytes for leaf in jax.tree.leaves(params)) + 2**20
    handlers = {
        "state": ocp.PyTreeCheckpointHandler(
            save_concurrent_gb=limit / 1e9, use_compression=False, type_handler_registry=CHUNKS
        ),
        "run": ocp.JsonCheckpointHandler(),
        "loop": ocp.JsonCheckpointHandler(),
    }
    items = ocp.args.Composite(
        state=ocp.args.PyTreeSave(
            state,
            jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=2**24), state),
            ocdbt_target_data_file_size=2**25,
        ),
        run=ocp.args.JsonSave(dict(metadata)),
        loop=ocp.args.JsonSave({"steps": [], "checksums": host_checksums(state)}),
    )
    # A manager of its own: one that was just closed may still delete what it takes for leftovers.
    options = ocp.CheckpointManagerOptions(**object_stores.prepare(directory))
    opened = ocp.CheckpointManager(object_stores.absolute(directory), options=options, item_handlers=handlers)
    with storage_errors(directory), opened as manager:
        manager.save(0, args=items)
        manager.wait_until_finished()


def _ranking(metrics: Mapping[str, Any]) -> Ranking:
    return Ranking(metrics.get("by", LOSS), metrics.get("cost", metrics["loss"]))


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(list(shape))


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
