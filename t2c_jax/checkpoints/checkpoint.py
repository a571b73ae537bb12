"""Checkpoints: plain nested dicts on disk through Orbax, written in the background, restored onto any mesh.

A checkpoint holds ``state`` (step, params or adapters, opt_state, ema: nested dicts of arrays, one per array a person
could name), ``about`` (the config's model section, the tokenizer's digest, of adapters what they go with) and
``window`` (the metrics of the steps that the next logged line is to cover, and how what watches the run stands).
Restoring goes through an abstract state with the target's shardings, and every array must be there: a parameter without
a source is an error.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from t2c_jax import console
from t2c_jax.checkpoints import object_stores, storage
from t2c_jax.checkpoints.pytrees import begin_checksums, changed, checksums, differences, flat, from_nested, to_nested
from t2c_jax.checkpoints.storage import CHUNKS, Later, as_os_errors, patiently, storage_errors
from t2c_jax.errors import UserError
from t2c_jax.workdir import disk_errors, move_aside
from t2c_jax.workdir.retries import TRANSIENT

DAMAGED = "damaged"
_MOST_FAILURES = 3
_FOREIGN = {
    "tokenizer": "the tokenizer is another than the checkpoint's",
    "base": "the best checkpoint in config.init_from is another than the one its adapters were trained over",
}
LOSS = "loss"  # the held-out one: what checkpoints are ranked by where nothing else is asked for


class Ranking(NamedTuple):
    """What a checkpoint is ranked by where it is not its held-out loss.

    Attributes:
      by: the metric's name.
      cost: less is better.
    """

    by: str
    cost: float


class Checkpoints:
    """The checkpoints of one run: the latest few, and the best by held-out loss or by what else they are ranked by."""

    def __init__(
        self,
        directory: Path,
        about: Mapping[str, Any],
        *,
        keep: int = 1,
        ranked_by: str = LOSS,
        read_only: bool = False,
    ) -> None:
        """Opens the directory, making it unless ``read_only``.

        Args:
          directory: ``WORKDIR/checkpoints``; on an object store an ``epath.Path``.
          about: what must agree between a checkpoint and the run, as plain JSON values.
          keep: latest checkpoints to keep.
          ranked_by: the metric by which the best is kept; what was ranked by another comes last.
        """
        self.directory, self._about = object_stores.absolute(directory), json.loads(json.dumps(about))
        self._write: Callable[[], Any] | None = None  # the one that may still be under way
        self._failures = 0  # of writes in a row
        policies = ocp.checkpoint_managers

        def cost(metrics: Any) -> float:
            by, value = _ranking(metrics)
            return value if by == ranked_by else float("inf")

        storage.write_small_arrays_whole()
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
        self._manager = storage.undisturbed(self._open) if read_only else self._open()

    def _open(self) -> ocp.CheckpointManager:
        handlers = {
            "state": ocp.StandardCheckpointHandler(),
            "about": ocp.JsonCheckpointHandler(),
            "window": ocp.JsonCheckpointHandler(),
        }
        with storage_errors(self.directory):
            metrics = [(path, path.read_bytes()) for path in self.directory.glob("*/metrics/metrics")]
        for path, content in metrics:  # Orbax reads them all as it opens, damaged or not
            try:
                json.loads(content.decode("utf-8"))
            except ValueError as error:
                step = path.parents[1].name
                if self._options.read_only:
                    raise UserError(f"'{path}' is damaged; t2c train sets such a checkpoint aside") from None
                self._move_aside(step, error)
        with storage_errors(self.directory):
            return ocp.CheckpointManager(self.directory, options=self._options, item_handlers=handlers)

    def steps(self) -> list[int]:
        """Steps of the whole checkpoints, oldest first."""
        return sorted(self._manager.all_steps()) if self.directory.is_dir() else []

    def best(self) -> int | None:
        """The best by what the latest measured checkpoint is ranked by; the latest where none was measured.

        Of equals it is the latest.
        """
        steps = self.steps()
        rankings = {step: _ranking(metrics) for step in steps if (metrics := self._metrics(step))}
        if not rankings:
            return steps[-1] if steps else None
        by = rankings[max(rankings)].by
        return min((ranking.cost, -step, step) for step, ranking in rankings.items() if ranking.by == by)[-1]

    def loss(self, step: int) -> float | None:
        """The held-out loss measured at that step; None where none was, or what was written is damaged."""
        metrics = self._metrics(step)
        return metrics["loss"] if metrics else None

    def _metrics(self, step: int) -> Any:
        try:
            return self._manager.metrics(step)
        except ValueError:
            return None

    def window(self, step: int) -> list[dict[str, float]]:
        """What ``save`` was given."""
        return self._window(step)["steps"]

    def notes(self, step: int) -> dict[str, Any]:
        """What ``save`` was given."""
        return {name: note for name, note in self._window(step).items() if name not in ("steps", "checksums")}

    def _window(self, step: int) -> dict[str, Any]:
        return self._manager.restore(step, args=ocp.args.Composite(window=ocp.args.JsonRestore()))["window"]

    def save(
        self,
        step: int,
        state: Any,
        loss: float | None,
        window: Sequence[Mapping[str, float]] = (),
        *,
        ranking: Ranking | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """Starts to write the state; returns once it is copied, so that the caller may donate it.

        Args:
          step: names the checkpoint.
          state: the state after that step.
          loss: held-out loss, where it was measured at that step.
          window: metrics of the steps that no line has been logged for yet.
          ranking: what to rank it by instead of the loss.
          notes: how what watches the run stands after that step, JSON values by name.

        A write before that an unsteady file system broke off in the background is told and not repeated: its state is
        gone, and this one takes its place.

        Raises:
          UserError: this or an earlier write hit a full or forbidden disk, or several in a row broke off.
        """
        nested = to_nested(state)
        known = {**(notes or {}), "steps": [dict(item) for item in window]}
        window_and_notes = Later(known, checksums=begin_checksums(nested))
        if jax.default_backend() == "cpu":  # Orbax writes from where they lie, and the next step could not go there
            nested = jax.tree.map(jnp.copy, nested)
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(nested),
            about=ocp.args.JsonSave(self._about),
            window=ocp.args.JsonSave(window_and_notes),
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
            patiently(self._write, f"cannot write '{self.directory}'")

    def _finish(self) -> None:
        """Waits for the write under way.

        Raises:
          OSError: it broke off.
        """
        with as_os_errors():
            self._manager.wait_until_finished()
        self._failures, self._write = 0, None

    @property
    def writing(self) -> bool:
        """Whether a save is under way in the background."""
        return self._manager.is_saving_in_progress()

    def wait(self) -> None:
        """Until everything is on disk; a write that broke off is repeated, for its state is still there.

        Raises:
          UserError: a write hit a full or forbidden disk, or broke off several times.
        """
        broken = False

        def finish() -> None:
            nonlocal broken
            if broken and self._write is not None:
                self._write()
            broken = True
            self._finish()

        with disk_errors(self.directory):
            patiently(finish, f"cannot write '{self.directory}'")

    def restore_latest(self, abstract: Any) -> tuple[int, Any] | None:
        """The newest state that can be read, with its step; None where there is no checkpoint.

        A checkpoint that cannot be read is set aside under ``damaged/`` with a warning, and the one before is taken.

        Args:
          abstract: ``jax.ShapeDtypeStruct`` with shardings for every array of the state.

        Raises:
          UserError: checkpoints of another model or tokenizer; or there are some, and none can be read.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                with disk_errors(self.directory):  # a file system that fails damages nothing
                    read = functools.partial(self.restore, step, abstract)
                    return step, patiently(read, f"cannot read checkpoint {step}")
            except UserError:
                raise
            except Exception as error:  # whatever Orbax meets in a damaged directory
                self._set_aside(step, error)
        if steps:
            raise UserError(
                f"no checkpoint in '{self.directory}' can be read; they are in '{self.directory / DAMAGED}':"
                " delete that directory to start anew"
            )
        return None

    def restore(self, step: int, abstract: Any) -> Any:
        """One state, laid out as ``abstract`` says.

        Raises:
          UserError: of another model or tokenizer, or an array is missing or of another shape.
          ValueError: an array is not what was saved.
        """
        found = self._manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]
        self._check_about(step, found)
        target = to_nested(abstract)
        self._check_arrays(step, target)
        nested = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target, strict=True))
        )["state"]
        self._check_sums(step, nested)
        return from_nested(abstract, nested)

    def restore_params(self, step: int, abstract_params: Any) -> Any:
        """What trained, parameters or adapters, alone; its moving average where the run kept one.

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
        """The shape of each parameter by dotted path, of whatever model.

        Raises:
          UserError: the checkpoint cannot be read.
        """
        try:
            stored = flat(self._manager.item_metadata(step)["state"].tree[self._averaged(step)])
        except Exception as error:  # whatever Orbax meets in a damaged directory
            raise UserError(f"checkpoint {step} in '{self.directory}' cannot be read ({_reason(error)})") from error
        return {path: tuple(leaf.shape) for path, leaf in stored.items()}

    def foreign_params(self, step: int, abstract_params: Any) -> Any:
        """``restore_params`` whatever the checkpoint is of, but for what this was opened with: shapes must agree.

        Raises:
          UserError: the checkpoint cannot be read, or is of another base.
        """
        try:
            if self._about:
                found = self._manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]
                self._check_about(step, {name: found.get(name) for name in self._about})
            return self._read_params(step, abstract_params)
        except UserError:
            raise
        except Exception as error:  # whatever Orbax meets in a damaged directory
            raise UserError(f"checkpoint {step} in '{self.directory}' cannot be read ({_reason(error)})") from error

    def _restore_params(self, step: int, abstract_params: Any) -> Any:
        found = self._manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]
        self._check_about(step, found)
        return self._read_params(step, abstract_params)

    def _averaged(self, step: int) -> str:
        state = self._manager.item_metadata(step)["state"]
        return next(name for name in ("ema", "adapters", "params") if name in state)

    def _read_params(self, step: int, abstract_params: Any) -> Any:
        name = self._averaged(step)
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
        self._check_sums(step, nested)
        return from_nested({name: abstract_params}, nested)[name]

    def _check_about(self, step: int, found: Mapping[str, Any]) -> None:
        for path, ours, theirs in differences(self._about, found):
            what = _FOREIGN.get(path, f"config.{path} is {ours!r}, the checkpoint's {theirs!r}")
            raise UserError(
                f"checkpoint {step} in '{self.directory}' does not fit this run: {what};"
                " go back to its config, or choose another --workdir"
            )

    def _check_arrays(self, step: int, target: Any) -> None:
        stored = {
            path: tuple(leaf.shape) for path, leaf in flat(self._manager.item_metadata(step)["state"].tree).items()
        }
        wanted = {path: tuple(leaf.shape) for path, leaf in flat(target).items()}
        for path in sorted(wanted.keys() | stored.keys()):
            if stored.get(path) != wanted.get(path):
                raise UserError(
                    f"checkpoint {step} in '{self.directory}' does not fit this run: {path} is"
                    f" {_shape(stored.get(path))} there and {_shape(wanted.get(path))} here;"
                    " go back to its config, or choose another --workdir"
                )

    def _check_sums(self, step: int, nested: Any) -> None:
        """Those of a release before there were checksums pass."""
        if wrong := changed(nested, self._window(step).get("checksums", {})):
            raise ValueError(f"{wrong[0]} has not the checksum that it was saved with")

    def _set_aside(self, step: int, error: Exception) -> None:
        self._manager.close()
        self._move_aside(str(step), error)
        self._manager = self._open()

    def _move_aside(self, step: str, error: Exception) -> None:
        aside = self.directory / DAMAGED
        console.warn(f"checkpoint {step} cannot be read ({_reason(error)}); it is set aside in '{aside}'")
        with contextlib.suppress(FileNotFoundError), object_stores.by_one_process(self.directory) as mine:
            if mine:  # else another process of this run moves it, or was faster
                move_aside(self.directory / step, aside)

    def close(self) -> None:
        """Ends the background writer, once everything is on disk.

        Raises:
          UserError: a write hit a full or forbidden disk.
        """
        with storage_errors(self.directory):
            self._manager.close()


def save_params(directory: Path, about: Mapping[str, Any], params: Any) -> None:
    """Writes checkpoint 0 of parameters without a state around them, as ``Checkpoints`` reads it, and waits.

    Arrays are written one after the other, in chunks of 16 MB, into files of 32 MB: a chunk is compressed in memory,
    and a file kept there until it is full. All at once, that takes the parameters' room over again.

    Args:
      directory: ``WORKDIR/checkpoints``, without a checkpoint 0.
      about: what must agree between the checkpoint and who reads it, as plain JSON values.
      params: nested dicts of arrays of ``jax``; those of NumPy would be copied first.

    Raises:
      UserError: the write hit a full or forbidden disk.
    """
    # The step is an array of jax too: NumPy's have another writer, and the two lose each other's files.
    state = {"step": jax.device_put(np.zeros((), np.int32)), "params": params}
    limit = max(leaf.nbytes for leaf in jax.tree.leaves(params)) + 2**20
    handlers = {
        "state": ocp.PyTreeCheckpointHandler(save_concurrent_gb=limit / 1e9, type_handler_registry=CHUNKS),
        "about": ocp.JsonCheckpointHandler(),
        "window": ocp.JsonCheckpointHandler(),
    }
    items = ocp.args.Composite(
        state=ocp.args.PyTreeSave(
            state,
            jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=2**24), state),
            ocdbt_target_data_file_size=2**25,
        ),
        about=ocp.args.JsonSave(dict(about)),
        window=ocp.args.JsonSave({"steps": [], "checksums": checksums(state)}),
    )
    # A manager of its own: one just closed may still be about to clean up what it takes for leftovers.
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
