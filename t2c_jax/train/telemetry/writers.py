"""Writers of a run's metrics: ``metrics.jsonl`` for programs, TensorBoard for people."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from t2c_jax.train.telemetry.weights_and_biases import WandbRun
from t2c_jax.workdir import Workdir, disk_errors


@contextlib.contextmanager
def _as_os_errors() -> Iterator[None]:
    """Raises a full disk as an ``OSError``: TensorBoard writes through TensorFlow, whose errors are its own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


class MetricsWriter:
    """Appends one line a record to ``metrics.jsonl`` and the same numbers to TensorBoard.

    Each step is there once, however often the run was killed. Opening removes the lines after the step that a run
    resumes from, an incomplete last line, and the line that says that the run has ended. A ``SessionLog`` event makes
    TensorBoard drop what earlier event files hold after that step.

    Attributes:
      kept_time: the last ``time`` record up to that step; empty where there is none.
      reached_time: the last ``time`` record of all.
    """

    kept_time: Mapping[str, float]
    reached_time: Mapping[str, float]

    def __init__(self, path: Path, tensorboard: Path, start_step: int, wandb: WandbRun | None = None) -> None:
        with disk_errors(path):
            lines = [(line, json.loads(line)) for line in _lines(path.read_text("utf-8") if path.exists() else "")]
            kept = [
                (line, record) for line, record in lines if record["step"] <= start_step and record["kind"] != "end"
            ]
            aside = path.with_name(f".{path.name}.partial")
            aside.write_text("".join(line for line, _ in kept), "utf-8")
            aside.replace(path)  # atomically: a kill must not cost the lines that are kept
            self._kept = [record for _, record in kept]
            self._file = path.open("a", encoding="utf-8")
            tensorboard.mkdir(parents=True, exist_ok=True)
            self._events, self._tensorboard = EventFileWriter(str(tensorboard)), tensorboard
        start = SessionLog(status=SessionLog.START)
        self._add(Event(step=start_step + 1, wall_time=time.time(), session_log=start))
        self._path, self._wandb = path, wandb
        self._last: dict[str, int] = {}
        self.kept_time, self.reached_time = _last_time(self._kept), _last_time([record for _, record in lines])

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """One record: ``{"step": …, "kind": "train", "dev", "time" …, …}``; TensorBoard names are ``kind/name``."""
        record = _record(step, kind, values)
        with disk_errors(self._path):
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        if self._last.get(kind) == step:  # the totals after the last step, which may have been logged already
            return
        self._last[kind] = step
        scalars = [Summary.Value(tag=f"{kind}/{name}", simple_value=value) for name, value in values.items()]
        self._add(_event(step, Summary(value=scalars)))
        if self._wandb is not None:
            self._wandb.write(step, kind, values)

    def once(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """``write``, unless an earlier process wrote the same record."""
        if _record(step, kind, values) not in self._kept:
            self.write(step, kind, values)

    def samples(self, step: int, samples: Sequence[Mapping[str, str]]) -> None:
        """Texts with their reference and predicted code, for TensorBoard's text page."""
        for number, sample in enumerate(samples):
            parts = [f"**{name}**\n\n{textwrap.indent(text, '    ')}" for name, text in sample.items()]
            self._add(_event(step, text_pb(f"samples/{number}", "\n\n".join(parts))))

    def _add(self, event: Event) -> None:
        """Hands an event to TensorBoard's thread, which raises here what went wrong with an event before."""
        with disk_errors(self._tensorboard), _as_os_errors():
            self._events.add_event(event)

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        with disk_errors(self._tensorboard), _as_os_errors():
            self._events.close()
        if self._wandb is not None:
            self._wandb.close()


def open_metrics(workdir: Workdir, start_step: int, wandb_project: str, config: dict[str, Any]) -> MetricsWriter:
    """The writer of a run that resumes from a step, to all places that its config names.

    Args:
      workdir: of the run.
      start_step: the step that it resumes from.
      wandb_project: config.train.wandb.
      config: of the run, as JSON values, to be shown there.
    """
    wandb = WandbRun(wandb_project, config, workdir) if wandb_project else None
    return MetricsWriter(workdir.metrics, workdir.tensorboard, start_step, wandb)


class NoMetrics(MetricsWriter):
    """Writes nothing: for all processes of a run but the primary one."""

    def __init__(self) -> None:
        self.kept_time, self.reached_time, self._kept = {}, {}, []

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Nothing."""

    def samples(self, step: int, samples: Sequence[Mapping[str, str]]) -> None:
        """Nothing."""

    def __exit__(self, *_: object) -> None:
        pass


def has_ended(metrics: str) -> bool:
    """Whether the content of a run's ``metrics.jsonl`` says that it reached its last step."""
    lines = _lines(metrics)
    return bool(lines) and json.loads(lines[-1]).get("kind") == "end"


def write_scores(tensorboard: Path, step: int, split: str, scores: Mapping[str, Mapping[str, float | None]]) -> None:
    """A checkpoint's scores by metric (``value`` of each), as ``split/name``, in an event file of its own."""
    with disk_errors(tensorboard):
        tensorboard.mkdir(parents=True, exist_ok=True)
        events = EventFileWriter(str(tensorboard), filename_suffix=".evaluate")
        values = [
            Summary.Value(tag=f"{split}/{name}", simple_value=score["value"])
            for name, score in scores.items()
            if score["value"] is not None
        ]
        events.add_event(_event(step, Summary(value=values)))
        events.close()


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines(keepends=True) if _is_complete(line)]


def _last_time(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    found = [record for record in records if record.get("kind") == "time"][-1:]
    return {name: value for record in found for name, value in record.items() if isinstance(value, int | float)}


def _is_complete(line: str) -> bool:
    try:
        return line.endswith("\n") and "step" in json.loads(line)
    except ValueError:
        return False


def _record(step: int, kind: str, values: Mapping[str, float]) -> dict[str, Any]:
    return {"step": step, "kind": kind, **{name: _number(value) for name, value in values.items()}}


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None  # JSON has no NaN


def _event(step: int, summary: Summary) -> Event:
    return Event(step=step, wall_time=time.time(), summary=summary)
