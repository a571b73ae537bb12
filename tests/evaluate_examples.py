"""A pair with as little as a test needs, and evaluations on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from t2c_jax.config import EvaluateConfig
from t2c_jax.corpus.pairs import Pair, Source
from t2c_jax.evaluate.evaluator import evaluate_predictions, write_evaluation
from t2c_jax.workdir import MANIFEST


def pair(pair_id: str, text: str, code: str, language: str = "python", kind: str = "function") -> Pair:
    source = Source("example", "0" * 40, "a/b.py", 3, 9, "MIT")
    return Pair(pair_id, text, code, language, kind, source)


def write_run(
    workdir: Path,
    pairs: Sequence[Pair],
    answers: Sequence[str],
    name: str = "12-test-all-greedy",
    split: Literal["dev", "test"] = "test",
    metrics: tuple[str, ...] = EvaluateConfig().metrics,
) -> Path:
    """An evaluation of answers from elsewhere in a workdir, as ``t2c evaluate`` leaves it; returns its directory."""
    config = EvaluateConfig(split=split, metrics=metrics, bootstrap_samples=10)
    train = [pair("train", "text", "x = 1")]
    evaluation = evaluate_predictions(pairs, [[answer] for answer in answers], train, config, seed=0)
    path = workdir / "evaluations" / name
    path.mkdir(parents=True)
    write_evaluation(path, evaluation)
    (path / MANIFEST).write_text("{}")
    return path
