"""Trains and scores a published system with several seeds.

Each seed is ``t2c run`` in a process of its own, with the workdir ``OUTPUT/NAME/seed-N``. So the peak of its memory is
its own, and a run that was killed resumes from its workdir. ``result.json`` there, with a key over all that decides the
score, says that a seed is finished. ``attempts.jsonl`` has the time and memory of each process.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from t2c_jax import console
from t2c_jax.errors import UserError
from t2c_jax.library.published_systems import System
from t2c_jax.library.reproduction_data import TrainingData
from t2c_jax.workdir import digest
from t2c_jax.workdir.io import write_json

_QUICK = (
    *("tokenizer.vocab_size=400", "train.steps=4", "train.eval_every=2", "train.save_every=2", "train.eval_batches=1"),
    "optimizer.warmup_steps=1",
    *("decode.beam_size=1", "decode.max_tokens=8", "evaluate.max_examples=4", "evaluate.bootstrap_samples=20"),
)
_RESULT, _ATTEMPTS = "result.json", "attempts.jsonl"


@dataclass(frozen=True)
class ProcessResult:
    """How a process ended.

    Attributes:
      status: exit status; negative for a signal.
      output: on its standard output.
      memory: peak of resident memory in bytes.
    """

    status: int
    output: str
    memory: int


@dataclass(frozen=True)
class SeedResult:
    """What one seed reached.

    Attributes:
      seed: of initialisation, data order and dropout.
      score: of the system's metric, in its unit.
      standard_error: over the examples, by bootstrap; None where it is unknown.
      retrieval: the score of copying the training pair with the nearest text.
      examples: that were scored.
      step: of the checkpoint.
      parameters: of the model.
      seconds: of all processes.
      memory: the largest peak of resident memory in bytes.
    """

    seed: int
    score: float
    standard_error: float | None
    retrieval: float | None
    examples: int
    step: int
    parameters: int
    seconds: float
    memory: int


Start = Callable[[Sequence[str]], ProcessResult]


def command_of(system: System, data: TrainingData, configs: Path, overrides: Sequence[str], quick: bool) -> list[str]:
    """The arguments of ``t2c`` for any seed, without the workdir and the seed.

    Raises:
      UserError: the config is not there.
    """
    path = configs / system.config.partition(":")[0]
    if not path.is_file():
        raise UserError(f"'{path}' does not exist; run in a checkout, or name the directory with --configs DIR")
    argument = system.config.partition(":")[2]
    scored = [f"evaluate.split={data.split}"] if data.split else []
    settings = [*data.overrides, *scored, "evaluate.max_examples=0", *(_QUICK if quick else ()), *overrides]
    return ["run", "--json", "--config", f"{path}:{argument}" if argument else str(path)] + [
        f"--config.{item}" for item in settings
    ]


def run_seed(command: Sequence[str], system: System, workdir: Path, seed: int, key: str, start: Start) -> SeedResult:
    """Runs a seed to its end, or reads its result where it is finished.

    Raises:
      UserError: the run failed, or was stopped; the same command goes on then.
    """
    key = digest(key, str(seed))
    result = workdir / _RESULT
    if result.is_file():
        try:
            stored = json.loads(result.read_text("utf-8"))
        except ValueError:
            raise UserError(f"'{result}' is damaged; delete it and run the same command again") from None
        if stored.pop("key") == key:
            console.say(f"seed {seed}: finished before, {stored['score']:.1f}")
            return SeedResult(**stored)
    workdir.mkdir(parents=True, exist_ok=True)
    _end_killed(workdir)
    began = time.time()
    _note(workdir, {"key": key, "began": began})
    outcome = start([*command, "--workdir", str(workdir), f"--config.seed={seed}"])
    _note(workdir, {"key": key, "began": began, "seconds": time.time() - began, "memory": outcome.memory})
    if outcome.status:
        raise UserError(
            f"seed {seed} ended with status {outcome.status}, see above; the same command goes on from '{workdir}'"
        )
    results = json.loads(outcome.output)
    scores = results["evaluate"]
    model, retrieval = (scores[side].get(system.metric) or {} for side in ("model", "retrieval"))
    if model.get("value") is None:
        raise UserError(
            f"seed {seed}: {system.metric} is not among the scores of '{workdir}'; see config.evaluate.metrics"
        )
    attempts = [values for values in _attempts(workdir) if values["key"] == key]
    found = SeedResult(
        seed,
        model["value"],
        model["standard_error"],
        retrieval.get("value"),
        scores["examples"],
        scores["step"],
        results["train"]["parameters"],
        sum(values["seconds"] for values in attempts),
        max(values["memory"] for values in attempts),
    )
    write_json(result, {"key": key, **asdict(found)})
    return found


def start_process(arguments: Sequence[str]) -> ProcessResult:
    """Runs ``t2c`` in a process of its own. It ends, with a checkpoint, when this process does."""
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM, *arguments], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as stream:
        try:
            output = stream.read()
        except KeyboardInterrupt:  # the terminal has sent it the signal too: it saves and ends
            output = stream.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return ProcessResult(process.returncode, output.decode("utf-8"), usage.ru_maxrss * unit)


_PROGRAM = """
import ctypes, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
from t2c_jax.cli import console_script
sys.exit(console_script())
"""


def _note(workdir: Path, values: dict[str, Any]) -> None:
    with (workdir / _ATTEMPTS).open("a", encoding="utf-8") as file:
        file.write(f"\n{json.dumps(values)}")  # a line that was cut ends here


def _end_killed(workdir: Path) -> None:
    """Notes how long attempts lasted that were killed together with this command: until the last change of a file."""
    last = max((path.stat().st_mtime for path in workdir.rglob("*")), default=0.0)
    for values in _attempts(workdir):
        if "seconds" not in values:
            _note(workdir, {**values, "seconds": max(0.0, last - values["began"]), "memory": 0})


def _attempts(workdir: Path) -> list[dict[str, Any]]:
    """What is known of each attempt: its last line."""
    path = workdir / _ATTEMPTS
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    by_start: dict[float, dict[str, Any]] = {}
    for line in lines:
        with contextlib.suppress(ValueError):  # cut, where the machine went down
            values = json.loads(line)
            by_start[values["began"]] = values
    return list(by_start.values())


@dataclass(frozen=True)
class SeedSummary:
    """What several seeds reached.

    Attributes:
      mean: of the scores.
      spread: their standard deviation; None for one seed.
      interval: 95 % of the mean: the examples' standard error and the spread over the seeds.
      retrieval: as of the first seed.
      seconds: of a seed, on average.
      memory: the largest peak, in bytes.
    """

    mean: float
    spread: float | None
    interval: tuple[float, float]
    retrieval: float | None
    seconds: float
    memory: int

    @classmethod
    def of(cls, results: Sequence[SeedResult]) -> SeedSummary:
        """All seeds are scored on the same examples, so more seeds do not reduce the error over the examples."""
        scores = [result.score for result in results]
        errors = [result.standard_error or 0.0 for result in results]
        spread = statistics.stdev(scores) if len(scores) > 1 else None
        error = math.sqrt(statistics.fmean(e * e for e in errors) + (spread or 0.0) ** 2 / len(scores))
        mean = statistics.fmean(scores)
        return cls(
            mean,
            spread,
            (mean - 1.96 * error, mean + 1.96 * error),
            results[0].retrieval,
            statistics.fmean(result.seconds for result in results),
            max(result.memory for result in results),
        )
