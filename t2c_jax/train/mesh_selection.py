"""The mesh of a training run: what it has to hold is parameters, gradients and optimizer state."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from t2c_jax import mesh as meshes
from t2c_jax.checkpoints.origin import modules_to_save
from t2c_jax.config import Experiment
from t2c_jax.mesh import Workload
from t2c_jax.models.definition import Definition
from t2c_jax.train.state import init_state, optimizer_of, trainable_key


def make_mesh(experiment: Experiment, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh of a run on the given devices, or on all there are.

    Raises:
      UserError: the config does not fit the devices, or no choice of mesh holds the state.
    """
    return meshes.make_mesh(experiment.mesh, workload(experiment), devices)


def workload(experiment: Experiment) -> Workload:
    """What a mesh has to hold and to split in training; the state is counted only where a size is to be chosen."""
    chosen = 0 in (experiment.mesh.fsdp, experiment.mesh.tensor)
    definition = Definition(experiment.model, experiment.tokenizer.vocab_size)
    return Workload(
        state_bytes(experiment) if chosen else 0,
        definition.axis_sizes(),
        experiment.data.batch_size,
        experiment.train.microbatches,
    )


def state_bytes(experiment: Experiment) -> int:
    """Bytes of parameters, optimizer state, moving average and gradients; all devices together."""
    definition = Definition(experiment.model, experiment.tokenizer.vocab_size)
    full = modules_to_save(experiment, definition.vocab_size)
    optimizer = optimizer_of(definition, experiment.optimizer, experiment.lora, full)
    draw = functools.partial(
        init_state,
        definition,
        optimizer,
        seed=experiment.seed,
        lora_config=experiment.lora,
        ema=experiment.train.ema_decay > 0,
        modules_to_save=full,
    )
    state = jax.eval_shape(draw)
    gradients = jax.eval_shape(optimizer.trainable, state[trainable_key(state)])
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((state, gradients)))
