"""Runs behind an HTTP interface."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

from t2c_jax.checkpoints.bases import Bases
from t2c_jax.checkpoints.checkpoint import Checkpoints
from t2c_jax.library.run import Run, open_run
from t2c_jax.serve.following import Follower
from t2c_jax.serve.scheduler import Observer
from t2c_jax.serve.served_model import ServedModel
from t2c_jax.workdir import Workdir


def share_bases(runs: Sequence[Run]) -> None:
    """Lets runs with adapters over one base read its arrays once, as does the base itself where it is among them.

    A run that shares no base has its adapters merged when it is read. So has one with a reranker, which is fitted
    to parameters that are merged.
    """
    over: dict[str, list[Run]] = {}
    for run in runs:
        if not run.config.decode.rerank:
            base = Workdir(run.config.origin.run) if run.config.lora.rank else run.workdir
            over.setdefault(str(base.path.resolve()), []).append(run)
    bases = Bases()
    for group in over.values():
        if len(group) > 1 and any(run.config.lora.rank for run in group):
            for run in group:
                run.bases = bases


def served_model(
    name: str, run: Run, most_waiting: int, observer: Observer | None = None, rows: int | None = None
) -> ServedModel:
    """A model that answers requests with a run's checkpoint; its parameters are read here.

    Args:
      name: in requests.
      run: what answers. With config.decode.rerank its reranker chooses the answers, and says how likely they are right.
      most_waiting: prompts that may wait.
      observer: is told of the work.
      rows: prompts that are answered at once; by default config.decode.batch_size.

    Raises:
      UserError: no such checkpoint, or no reranker for the search.
    """
    decode = run.config.decode
    embeds = "embedding" in run.config.model.output_heads
    return ServedModel(
        name,
        run.generator,
        most_waiting=most_waiting,
        embedder=run.embedder if embeds else None,
        infills=run.infill_prompts,
        rerank=run.reranker(decode) if decode.rerank else None,
        language=run.answer_language,
        observer=observer,
        rows=rows,
        step=run.step,
    )


def follower(
    models: MutableMapping[str, ServedModel],
    name: str,
    directory: str,
    overrides: Sequence[str],
    bases: Bases | None,
    *,
    most_waiting: int,
    observer: Observer,
    rows: int,
) -> Follower:
    """Has the best checkpoint of a run answer, as training saves them.

    Args:
      models: what answers, by name.
      name: of the model that is followed.
      directory: of the run.
      overrides: as of ``open_run``.
      bases: keeps the arrays that the run shares with others; None for arrays of its own.
      most_waiting, observer, rows: as of ``served_model``.
    """

    def newest() -> int | None:
        checkpoints = Checkpoints(Workdir(directory).checkpoints, {}, read_only=True)
        try:
            return checkpoints.best()
        finally:
            checkpoints.close()

    def load(step: int) -> ServedModel:
        run = open_run(directory, step, overrides=overrides)
        run.bases = bases
        return served_model(name, run, most_waiting, observer, rows)

    return Follower(models, name, newest, load)
