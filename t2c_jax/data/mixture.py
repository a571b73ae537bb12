"""The tasks that a run trains on, each over its tokens, in the shares that the config states."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from t2c_jax.config import DataConfig, ModelConfig
from t2c_jax.data.encoder_features import encoder_features
from t2c_jax.data.permutation import mix
from t2c_jax.data.pipeline import Stream
from t2c_jax.data.retrieved import split_neighbours
from t2c_jax.data.tasks.task import TaskSetup, build_task
from t2c_jax.data.tasks.translation import Translation, translation
from t2c_jax.data.tokens import inverse_frequency, open_tokens
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import Workdir


def open_streams(
    workdir: Workdir,
    split: str,
    tokenizers: Tokenizers,
    data: DataConfig,
    model: ModelConfig,
    *,
    seed: int = 0,
    idf_weight: float = 0.0,
) -> dict[str, Stream]:
    """A stream for each task by name; that of a run without tasks is named by the empty string.

    Args:
      workdir: holds the tokens of tasks that name no other workdir.
      split: the train split is read in an order of ``seed``, the others in an order that no seed changes.
      tokenizers: the run's.
      data: tasks and lengths.
      model: what the encoder reads, and whether it copies.
      seed: of the run.
      idf_weight: config.train.idf_weight.

    Raises:
      UserError: tokens are missing, damaged or of another tokenizer; a task has no room or no examples to train on.
    """
    seed = seed if split == "train" else 0
    weights = None
    if idf_weight:
        weights = 1 + idf_weight * inverse_frequency(open_tokens(workdir, "train", tokenizers), tokenizers)
    neighbours = split_neighbours(workdir, split, tokenizers, data)
    if not data.tasks:
        tokens = open_tokens(workdir, split, tokenizers)
        only = translation(tokenizers, data, copy=model.copy, weights=weights, neighbours=neighbours)
        return {"": Stream(tokens, data, seed, only, encoder_features(data, model).rows(tokens, only.source))}
    streams = {}
    for name, config in data.tasks.items():
        key = f"config.data.tasks.{name}"
        task = build_task(TaskSetup(key, config, data, tokenizers, model.copy, weights))
        source = Workdir(config.workdir) if config.workdir else workdir
        if isinstance(task, Translation) and config.objective == data.direction and not config.workdir:
            task = replace(task, neighbours=neighbours)
        stream = Stream(open_tokens(source, split, tokenizers), data, task_seed(seed, name), task)
        if split == "train" and not len(stream.index):
            raise UserError(
                f"{key}: none of the {len(stream.tokens):,} pairs in '{source.name}' has {task.needs}; remove the task,"
                " or add sources that have it"
            )
        streams[name] = stream
    return streams


def task_seed(seed: int, name: str) -> int:
    """The seed of a task: a function of the run's seed and the task's name, so that other tasks do not change it."""
    return int(mix(mix(np.array([seed % 2**64], np.uint64)) ^ np.uint64(zlib.crc32(name.encode("utf-8"))))[0])


def task_shares(data: DataConfig, streams: Mapping[str, Stream]) -> np.ndarray:
    """Each task's share of the rows; they add up to 1."""
    weights = np.array([task.weight for task in data.tasks.values()] or [1.0])
    sizes = np.array([float(len(stream.index)) for stream in streams.values()])
    return shares(weights, sizes, data.temperature)


def shares(weights: np.ndarray, sizes: np.ndarray, temperature: float) -> np.ndarray:
    """A mixture's shares: weights times sizes to the power 1 / T, normalised (Raffel et al. 2020, section 3.5.2;
    Arivazhagan et al. 2019). With a temperature of 0, sizes do not count.

    With sizes 4 and 1, weights 1 and 1 and T = 2: 2/3 and 1/3.
    """
    mixed = weights * (sizes ** (1 / temperature) if temperature else 1.0)
    return mixed / mixed.sum()
