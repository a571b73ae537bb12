"""The mesh of a training run: what it has to hold is parameters, gradients and optimizer state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax.sharding import Mesh

from t2c_jax import mesh as meshes
from t2c_jax.config import DataConfig, MeshConfig, TrainConfig
from t2c_jax.mesh import Workload
from t2c_jax.models.definition import Definition


def make_mesh(
    config: MeshConfig,
    definition: Definition,
    state_bytes: Callable[[], int],
    data: DataConfig,
    train: TrainConfig,
    devices: Sequence[Any] | None = None,
) -> Mesh:
    """The mesh of a run on the given devices, or on all there are.

    Args:
      config: sizes of the mesh's axes.
      definition: the model.
      state_bytes: bytes of the state (``Trainable.nbytes``); called only where a size is to be chosen.
      data, train: rows and parts of a batch.
      devices: to use.

    Raises:
      UserError: the config does not fit the devices, or no choice of mesh holds the state.
    """
    held = state_bytes() if 0 in (config.fsdp, config.tensor) else 0
    return meshes.make_mesh(config, workload(definition, data, train, held), devices)


def workload(definition: Definition, data: DataConfig, train: TrainConfig, state_bytes: int = 0) -> Workload:
    """What a mesh has to hold and to split in training."""
    return Workload(state_bytes, definition.axis_sizes(), data.batch_size, train.microbatches)
