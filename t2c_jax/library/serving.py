"""Runs behind an HTTP interface."""

from __future__ import annotations

from t2c_jax.library.run import Run
from t2c_jax.serve.scheduler import Observer
from t2c_jax.serve.served_model import ServedModel


def served_model(name: str, run: Run, most_waiting: int, observer: Observer | None = None) -> ServedModel:
    """A model that answers requests with a run's checkpoint; its parameters are read here.

    Args:
      name: in requests.
      run: what answers. With config.decode.rerank its reranker chooses the answers, and says how likely they are right.
      most_waiting: prompts that may wait.
      observer: is told of the work.

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
        rerank=run.reranker(decode) if decode.rerank else None,
        language=run.answer_language,
        observer=observer,
    )
