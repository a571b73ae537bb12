"""The batches of a run: training batches by step, held-out batches by task, and their way to the devices."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import Mesh

from t2c_jax import mesh as meshes
from t2c_jax.config import DataConfig, ModelConfig
from t2c_jax.data.mixture import open_streams, task_shares
from t2c_jax.data.pipeline import Batches, task_keys
from t2c_jax.data.schedule import TaskSchedule
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import Workdir


@dataclass(frozen=True)
class Data:
    """Batches by step: without end for training, one pass over the dev split for evaluation.

    Attributes:
      train: of all tasks.
      dev: of each task; that of a run without tasks has the empty name.
      shares: of the rows, by task; 0 for tasks that replay another corpus, whose held-out loss is only reported.
    """

    train: Batches
    dev: Mapping[str, Batches]
    shares: Mapping[str, float]


def open_data(
    workdir: Workdir,
    tokenizers: Tokenizers,
    data: DataConfig,
    model: ModelConfig,
    mesh: Mesh,
    *,
    seed: int,
    idf_weight: float = 0.0,
) -> Data:
    """The rows of the batches that this process's devices hold.

    Args:
      workdir: holds the tokens.
      tokenizers: of the run.
      data, model: of the run's config.
      mesh: the run's devices.
      seed: of the order of the data.
      idf_weight: config.train.idf_weight.

    Raises:
      UserError: the tokens were made by another tokenizer, or are missing or damaged.
    """
    rows = meshes.local_rows(mesh, data.batch_size)
    train, dev = (
        open_streams(workdir, split, tokenizers, data, model, seed=seed, idf_weight=idf_weight)
        for split in ("train", "dev")
    )
    extra_keys = task_keys(data)
    shares = task_shares(data, train)
    return Data(
        Batches(list(train.values()), data, TaskSchedule.of(shares), extra_keys=extra_keys, rows=rows),
        {
            name: Batches([stream], data, repeat=False, first_task=number, extra_keys=extra_keys, rows=rows)
            for number, (name, stream) in enumerate(dev.items())
        },
        {
            name: 0.0 if name and data.tasks[name].workdir else float(share)
            for name, share in zip(train, shares, strict=True)
        },
    )


def prefetched(batches: Iterable[Mapping[str, np.ndarray]], mesh: Mesh) -> Generator[dict[str, jax.Array], None, None]:
    """Global arrays of each batch. A thread fetches the next one, and starts its transfer, while this one is in use."""
    remaining = iter(batches)

    def fetch() -> dict[str, jax.Array] | None:
        batch = next(remaining, None)
        return None if batch is None else meshes.global_batch(batch, mesh)

    thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
    try:
        ahead = thread.submit(fetch)
        while (batch := ahead.result()) is not None:
            ahead = thread.submit(fetch)
            yield batch
    finally:
        thread.shutdown(wait=False, cancel_futures=True)
