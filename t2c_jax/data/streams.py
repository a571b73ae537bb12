"""A run's tasks over their tokens, as its config names them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from t2c_jax.config import Experiment
from t2c_jax.data.encoder_features import source_side
from t2c_jax.data.mixture import make, shares
from t2c_jax.data.permutation import mix
from t2c_jax.data.pipeline import Stream
from t2c_jax.data.prepare import Tokens, inverse_frequency
from t2c_jax.data.tasks.task import translate
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import Workdir


def open_tokens(workdir: Workdir, split: str, tokenizers: Tokenizers) -> Tokens:
    """A split's tokens.

    Raises:
      UserError: they were made by another tokenizer, or are missing or damaged.
    """
    tokens = Tokens.open(workdir.tokens, split)
    if tokens.tokenizer_digest != tokenizers.digest:
        raise UserError(
            f"the tokens in '{workdir.name}' were made by another tokenizer than this run's; run t2c prepare, or name a"
            " workdir that shares its tokenizer"
        )
    return tokens


def open_streams(experiment: Experiment, workdir: Workdir, tokenizers: Tokenizers, split: str) -> dict[str, Stream]:
    """A stream for each task by name; that of a run without tasks is named by the empty string.

    Args:
      experiment: the run's config.
      workdir: holds the tokens of tasks that name no other.
      tokenizers: what they were made with.
      split: the train split is read in an order of the run's seed, the others in one that no seed changes.

    Raises:
      UserError: tokens are missing, damaged or of another tokenizer, or a task has no room, or nothing to train on.
    """
    data, copy = experiment.data, experiment.model.copy
    seed = experiment.seed if split == "train" else 0
    weights = None
    if experiment.train.idf_weight:
        own = open_tokens(workdir, "train", tokenizers)
        weights = 1 + experiment.train.idf_weight * inverse_frequency(own, tokenizers)
    if not data.tasks:
        task = translate(tokenizers, data, copy=copy, weights=weights)
        tokens = open_tokens(workdir, split, tokenizers)
        return {"": Stream(tokens, data, seed, task, source_side(experiment, tokens, task.copy_table))}
    streams = {}
    for name, config in data.tasks.items():
        place = Workdir(config.workdir) if config.workdir else workdir
        made = make(config, name, tokenizers, data, copy=copy, weights=weights)
        stream = streams[name] = Stream(open_tokens(place, split, tokenizers), data, task_seed(seed, name), made)
        if split == "train" and not len(stream.parts):
            raise UserError(
                f"config.data.tasks.{name}: none of the {len(stream.tokens):,} pairs in '{place.name}' has"
                f" {made.needs}; leave the task out, or add sources that have it"
            )
    return streams


def task_seed(seed: int, name: str) -> int:
    """What a task is drawn by: by its name, so that other tasks beside it change nothing about it."""
    return int(mix(mix(np.array([seed % 2**64], np.uint64)) ^ np.uint64(zlib.crc32(name.encode("utf-8"))))[0])


def task_shares(experiment: Experiment, streams: Mapping[str, Stream]) -> np.ndarray:
    """Each task's share of the rows, which add up to 1."""
    weights = np.array([task.weight for task in experiment.data.tasks.values()] or [1.0])
    sizes = np.array([float(len(stream.parts)) for stream in streams.values()])
    return shares(weights, sizes, experiment.data.temperature)
