"""Evaluations as they are on disk: the scores, and every pair with its answer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from t2c_jax.corpus.pairs import Pair
from t2c_jax.errors import UserError
from t2c_jax.evaluate.metrics.metric import Metric
from t2c_jax.workdir import Workdir, digest

GROUP = "evaluations"
_SCORES, _PREDICTIONS = "scores.json", "predictions.jsonl"
_PAIR_FIELDS = tuple(field.name for field in dataclasses.fields(Pair))


@dataclass(frozen=True)
class SavedEvaluation:
    """An evaluation that was written.

    Attributes:
      label: a short name that no other evaluation beside it has.
      directory: of its run: that of the workdir, or the evaluation's own where it is in no workdir.
      path: its own directory.
      scores: the content of ``scores.json``.
      pairs: each pair by its id, in the order of ``predictions.jsonl``.
      candidates: the answers to each pair, best first, by the pair's id.
      kept: the statistics of each metric by the pair's id, where they were written; a part of a metric has those of the
        whole.
    """

    label: str
    directory: Path
    path: Path
    scores: Mapping[str, Any]
    pairs: Mapping[str, Pair]
    candidates: Mapping[str, Sequence[str]]
    kept: Mapping[str, Mapping[str, Sequence[float]]]

    @property
    def split(self) -> str:
        """Of the pairs."""
        return str(self.scores["split"])

    def digest(self) -> str:
        """Identifies the answers."""
        return digest(self.path / _PREDICTIONS)

    def answer(self, pair_id: str) -> str:
        """The answer that was scored."""
        return self.candidates[pair_id][0]

    def signature(self, metric: Metric) -> str:
        """How the metric was computed."""
        return str(self.scores["signatures"][metric.name])

    def statistics(self, metric: Metric, ids: Sequence[str]) -> np.ndarray | None:
        """The metric's statistics ``(examples, columns)`` as they were written; None where they were not."""
        rows = [self.kept[pair_id].get(metric.part_of or metric.name) for pair_id in ids]
        return None if None in rows else np.array(rows, float)


def open_evaluations(names: Sequence[str], split: str | None = None) -> list[SavedEvaluation]:
    """Reads evaluations.

    Args:
      names: workdirs, or directories of evaluations. A workdir is named where only one of its evaluations fits.
      split: of the evaluation of a workdir that has several.

    Raises:
      UserError: one is missing, damaged, named twice, or not the only one that fits.
    """
    found = [_find(name, split) for name in names]
    paths = [path.resolve() for _, path in found]
    twice = next((name for name, path in zip(names, paths, strict=True) if paths.count(path) > 1), None)
    if twice is not None:
        raise UserError(f"the evaluation of '{twice}' is named twice; name different ones")
    labels = _labels([(_name(directory), path) for directory, path in found])
    return [
        _read(label, directory if isinstance(directory, Path) else directory.path, path)
        for label, (directory, path) in zip(labels, found, strict=True)
    ]


def _name(directory: Path | Workdir) -> PurePath:
    """Of a run; the copy of one on an object store lies elsewhere."""
    if isinstance(directory, Path):
        return directory.resolve()
    return directory.path.resolve() if directory.remote is None else PurePath(directory.remote.url)


def _find(name: str, split: str | None) -> tuple[Path | Workdir, Path]:
    """The run, and the directory of the evaluation."""
    run, separator, evaluation = name.rstrip("/").rpartition(f"/{GROUP}/")
    if separator and evaluation and "/" not in evaluation:  # also behind a URL
        workdir = Workdir(run)
        return workdir, _checked(workdir.current(f"{GROUP}/{evaluation}"), name)
    if (Path(name) / _SCORES).is_file():
        path = Path(name)
        return (path.resolve().parents[1] if path.resolve().parent.name == GROUP else path), path
    workdir = Workdir(name)
    stages = workdir.finished_under(GROUP)
    if not stages:
        missing = "" if workdir.remote is not None or workdir.path.is_dir() else " does not exist, or"
        raise UserError(f"'{name}'{missing} has no finished evaluation; run t2c evaluate --workdir {name} first")
    paths = [workdir.current(stage) for stage in stages]
    fitting = [path for path in paths if split is None or _scores(path)["split"] == split]
    if len(fitting) == 1:
        return workdir, fitting[0]
    listed = ", ".join(path.name for path in fitting or paths)
    if not fitting:
        raise UserError(f"'{name}' has no evaluation on {split}; it has {listed}")
    raise UserError(
        f"'{name}' has {len(fitting)} evaluations{f' on {split}' if split else ''}; name one, as in"
        f" {name.rstrip('/')}/{GROUP}/{fitting[0].name}: {listed}"
    )


def _checked(path: Path, name: str) -> Path:
    if not (path / _SCORES).is_file():
        raise UserError(f"'{name}' is no evaluation: it has no {_SCORES}; name a workdir, or WORKDIR/{GROUP}/NAME")
    return path


def _labels(found: Sequence[tuple[PurePath, Path]]) -> list[str]:
    """The name of the run, with as much of its path and of the evaluation's name as tells it from the others."""
    runs = [run for run, _ in found]
    depth = 1
    while len({run.parts[-depth:] for run in runs}) < len(set(runs)):
        depth += 1
    names = [path.resolve().name.split("-") for _, path in found]
    labels = []
    for run, parts in zip(runs, names, strict=True):
        label = "/".join(run.parts[-depth:])
        siblings = [other for other_run, other in zip(runs, names, strict=True) if other_run == run]
        if len(siblings) > 1:
            own = [part for part in parts if not all(part in other for other in siblings)]
            label = "-".join(own or parts) if len(set(runs)) == 1 else f"{label}:{'-'.join(own or parts)}"
        labels.append(label)
    return labels


def _scores(path: Path) -> dict[str, Any]:
    try:
        scores = json.loads((path / _SCORES).read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"'{path / _SCORES}' cannot be read ({error}); {_again(path)}") from None
    if not isinstance(scores, dict) or "split" not in scores or not isinstance(scores.get("signatures"), dict):
        raise UserError(f"'{path / _SCORES}' holds no scores of t2c evaluate; {_again(path)}")
    return scores


def _again(path: Path) -> str:
    return f"delete '{path}' and run t2c evaluate again"


def _read(label: str, directory: Path, path: Path) -> SavedEvaluation:
    scores = _scores(path)
    file = path / _PREDICTIONS
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"'{file}' cannot be read ({error.strerror}); {_again(path)}") from None
    pairs: dict[str, Pair] = {}
    candidates: dict[str, list[str]] = {}
    kept: dict[str, dict[str, list[float]]] = {}
    columns: dict[str, int] = {}  # of each metric's statistics
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            pair = Pair.from_dict({name: values[name] for name in _PAIR_FIELDS if name in values})
            answers = values.get("candidates") or [values["prediction"]]
            if not isinstance(answers, list):
                raise ValueError("'candidates' is no list")
            texts = (pair.id, pair.text, pair.code, pair.language, pair.kind, *answers)
            if not all(isinstance(text, str) for text in texts):
                raise ValueError("a text is no string")
            if pair.id in pairs:
                raise ValueError(f"a second pair of id {pair.id!r}")
            pairs[pair.id], candidates[pair.id], kept[pair.id] = pair, answers, dict(values.get("statistics", {}))
            for name, row in kept[pair.id].items():
                if not np.isfinite(np.array(row, float)).all() or columns.setdefault(name, len(row)) != len(row):
                    raise ValueError(f"the statistics of {name} are {row}")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise UserError(f"'{file}' line {number} is malformed ({what}); {_again(path)}") from None
    if not pairs:
        raise UserError(f"'{file}' is empty; {_again(path)}")
    return SavedEvaluation(label, directory, path, scores, pairs, candidates, kept)
