"""A corpus of little functions, a config that trains on it in seconds, and ``t2c`` as a user starts it."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path
from unittest import mock

import program_cache
import pytest
from fork_server import ForkServer, connected

from t2c_jax import cli

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = """
from t2c_jax import config as schema


def get_config():
    config = schema.default()
    config.corpus.sources = ({corpus!r},)
    config.tokenizer.vocab_size = 448
    config.tokenizer.sentinels = 10
    config.data.encoder_length = 48
    config.data.decoder_length = 96
    config.data.batch_size = 8
    config.model.width = 16
    blocks = dict(layers=1, num_heads=2, head_width=8, feed_forward=32)
    config.model.encoder = schema.architecture("encoder", "transformer", **blocks)
    config.model.decoder = schema.architecture("decoder", "transformer", **blocks)
    config.model.dropout = 0.1
    config.optimizer.warmup_steps = 2
    config.optimizer.schedule = "constant"  # so that runs of any length have one train step
    config.train.steps = 12
    config.train.log_every = 4
    config.train.save_every = 3
    config.train.eval_every = 6
    config.train.eval_batches = 2
    config.train.samples = 0
    config.train.ema_decay = 0.9
    config.decode.beam_size = 2
    config.decode.max_tokens = 16
    config.decode.batch_size = 8
    config.evaluate.bootstrap_samples = 10
    return config
"""


def write_corpus(path: Path, count: int = 120) -> None:
    """Pairs in all three splits; every tenth line in dev, every tenth in test."""
    things, verbs = ("list", "word", "table", "number", "line"), ("first", "last", "sorted", "largest", "reversed")
    with path.open("w", encoding="utf-8") as file:
        for i in range(count):
            thing, verb = things[i % 5], verbs[i // 5 % 5]
            name = f"{verb}_{thing}_{i}"
            pair = {
                "text": f"Return the {verb} {thing} of {i} values, skipping those that are None.",
                "code": f"def {name}(values):\n    kept = [v for v in values if v]\n    return {verb}(kept)[{i}]\n",
                "split": {8: "dev", 9: "test"}.get(i % 10, "train"),
            }
            file.write(json.dumps(pair) + "\n")


def write_config(directory: Path) -> Path:
    """``corpus.jsonl`` and ``config.py`` in the directory."""
    write_corpus(directory / "corpus.jsonl")
    path = directory / "config.py"
    path.write_text(CONFIG.format(corpus=str(directory / "corpus.jsonl")))
    return path


def main(*arguments: str | Path) -> int:
    """``t2c`` within this process, whose JAX is set up already."""
    with mock.patch("t2c_jax.runtime.connect"):
        return cli.main([str(argument) for argument in arguments])


@functools.cache
def _prepared(base: Path) -> tuple[Path, Path]:
    directory = base / "small_run"
    directory.mkdir()
    config = write_config(directory)
    for verb in ("mine", "tokenizer", "prepare"):
        assert main(verb, "--config", config, "--workdir", directory / "run") == 0
    return config, directory / "run"


@functools.cache
def _trained(base: Path) -> Path:
    _, prepared = _prepared(base)
    trained = base / "small_run" / "trained"
    shutil.copytree(prepared, trained)
    assert main("train", "--workdir", trained) == 0
    return trained


@pytest.fixture
def prepared(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> tuple[Path, Path]:
    """The config file, and a workdir of one's own with everything done but the training."""
    config, workdir = _prepared(tmp_path_factory.getbasetemp())
    return config, Path(shutil.copytree(workdir, tmp_path / "run"))


@pytest.fixture
def trained(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A workdir of one's own, trained for 12 steps."""
    return Path(shutil.copytree(_trained(tmp_path_factory.getbasetemp()), tmp_path / "trained"))


def command(*arguments: str | Path) -> dict[str, list[str]]:
    """``t2c``, for the fork server."""
    return {"t2c": list(map(str, arguments))}


def processes() -> ForkServer:
    """Starts processes quickly."""
    return connected(Path(os.environ["T2C_TEST_FORK_SERVER"]))


def environment() -> dict[str, str]:
    """Of a user with one CPU device; programs are compiled without optimisations, and kept, as all tests' are."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    flags = [flag for flag in kept.pop("XLA_FLAGS", "").split() if "device_count" not in flag]
    kept["XLA_FLAGS"] = " ".join(flags)
    kept["JAX_COMPILATION_CACHE_DIR"] = str(program_cache.DIRECTORY)
    kept["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    paths = [str(Path(cli.__file__).parents[1]), kept.get("PYTHONPATH", "")]
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def t2c(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs ``t2c`` to its end, in a pipe."""
    return processes().run(command(*arguments), env=environment(), input=stdin)


def records(workdir: Path) -> list[dict[str, float]]:
    """The lines of ``metrics.jsonl`` that hold results, without what was timed, which no two runs share."""
    timed = ("tokens_per_second", "step_seconds")
    return [
        {name: value for name, value in line.items() if name not in timed}
        for line in all_records(workdir)
        if line["kind"] not in ("time", "slow_step", "end")
    ]


def all_records(workdir: Path) -> list[dict[str, float]]:
    """The lines of ``metrics.jsonl``."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
