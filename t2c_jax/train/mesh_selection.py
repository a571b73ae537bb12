"""The mesh of a run, as its config says or chosen from the size of its state, the devices and their memory."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
from jax.sharding import Mesh

from t2c_jax import mesh as meshes
from t2c_jax.checkpoints.start import beside_adapters
from t2c_jax.config import Experiment, MeshConfig
from t2c_jax.errors import UserError
from t2c_jax.models.definition import Definition
from t2c_jax.train.optimizer import make_optimizer, trainable
from t2c_jax.train.state import init_state, trainable_key

GIB = 2**30
# Of a device's memory, what parameters, gradients and optimizer state may take; activations need the rest.
STATE_SHARE = 0.5


def make_mesh(experiment: Experiment, devices: Sequence[Any] | None = None, *, training: bool = True) -> Mesh:
    """The mesh of a run on the given devices, or on all there are; where nothing is trained, of its parameters alone.

    Raises:
      UserError: the config does not fit the devices, or no choice of mesh holds the state.
    """
    devices = jax.devices() if devices is None else devices
    return meshes.make_mesh(with_mesh(experiment, devices, training=training), devices)


def with_mesh(experiment: Experiment, devices: Sequence[Any], *, training: bool = True) -> Experiment:
    """The experiment with the sizes that its mesh leaves to be chosen."""
    if 0 not in (experiment.mesh.fsdp, experiment.mesh.tensor):
        return experiment
    slices = meshes.slice_count(devices)
    state = state_bytes(experiment, training=training)
    sizes = choose(experiment, state, memory_bytes(devices[0]), len(devices), slices)
    return replace(experiment, mesh=sizes)


def choose(experiment: Experiment, state: int, memory: int | None, devices: int, slices: int = 1) -> MeshConfig:
    """The mesh that talks least among those that hold the state: the least ``tensor``, then the least ``fsdp``.

    ``data`` needs a sum of gradients once a step, ``fsdp`` the parameters once a pass, ``tensor`` the activations in
    every layer. So ``tensor`` is more than 1 only where there are fewer rows than devices, or where ``fsdp`` alone can
    split the state no further; and ``fsdp`` is the least whose share of the state takes at most ``STATE_SHARE`` of a
    device's memory, or, where none does, the least that leaves any memory at all.

    Args:
      experiment: its mesh's sizes of 0 are chosen, the others kept.
      state: bytes of parameters, gradients and optimizer state together.
      memory: bytes of a device; None for no limit.
      devices: how many there are, in so many ``slices`` of equal size.

    Raises:
      UserError: no mesh on these devices splits the batch and the model, or none holds the state.
    """
    asked = experiment.mesh
    divisors = [size for size in range(1, devices + 1) if devices % size == 0]
    fitting, refusal = [], None
    for tensor in [asked.tensor] if asked.tensor else divisors:
        for fsdp in [asked.fsdp] if asked.fsdp else divisors:
            try:
                sizes = meshes.check(replace(experiment, mesh=MeshConfig(asked.data, fsdp, tensor)), devices, slices)
            except UserError as error:
                refusal = refusal or error
            else:
                fitting.append(MeshConfig(**sizes))
    if not fitting:
        raise UserError(f"no mesh fits {devices} device(s): {refusal}")
    if memory is None:
        return fitting[0]
    for share in (STATE_SHARE, 1.0):
        for mesh in fitting:
            if state <= share * memory * mesh.fsdp * mesh.tensor:
                return mesh
    most = max(mesh.fsdp * mesh.tensor for mesh in fitting)
    raise UserError(
        f"parameters, gradients and optimizer state take {state / GIB:.1f} GiB, and {most} device(s) of"
        f" {memory / GIB:.1f} GiB that can share them do not hold that: use more devices, a smaller config.model, or"
        " config.optimizer.name=adafactor"
    )


def state_bytes(experiment: Experiment, *, training: bool = True) -> int:
    """Bytes of parameters and, in training, optimizer state, moving average and gradients; all devices together."""
    definition = Definition(experiment.model, experiment.tokenizer.vocab_size)
    optimizer = make_optimizer(experiment.optimizer)
    if not training:
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(definition.abstract_params()))
    beside = beside_adapters(experiment, definition.vocab_size)
    draw = functools.partial(
        init_state,
        definition,
        optimizer,
        seed=experiment.seed,
        optimizer_config=experiment.optimizer,
        lora_config=experiment.lora,
        ema=experiment.train.ema_decay > 0,
        modules_to_save=beside,
    )
    state = jax.eval_shape(draw)
    gradients = jax.eval_shape(lambda tree: trainable(tree, experiment.optimizer), state[trainable_key(state)])
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((state, gradients)))


# Bytes of devices that are compiled for and not there, which do not tell (cloud.google.com/tpu/docs).
MEMORY = {
    "TPU v4": 32 * GIB,
    "TPU v5 lite": 16 * GIB,
    "TPU v5": 95 * GIB,
    "TPU v5p": 95 * GIB,
    "TPU v6 lite": 32 * GIB,
}


def memory_bytes(device: Any) -> int | None:
    """Bytes of a device's own memory; None where it has none, as a CPU."""
    try:
        stats = device.memory_stats()
    except (AttributeError, RuntimeError, NotImplementedError):  # compiled for, not there
        stats = None
    return (stats or {}).get("bytes_limit") or MEMORY.get(device.device_kind)
