"""The train state, and the one compiled step that moves it.

The state is a plain nested dict: ``step`` (steps taken), ``params``, ``opt_state`` and, where it is asked for, ``ema``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from t2c_jax import mesh as meshes
from t2c_jax.config import Experiment, TrainConfig
from t2c_jax.models.functional import Definition, names
from t2c_jax.train.loss import Sums, chunked_sums
from t2c_jax.train.optimizer import learning_rate, make_optimizer, trained, with_frozen
from t2c_jax.train.r_drop import twice

State = dict[str, Any]
Batch = Mapping[str, jax.Array]


def loss_sums(
    definition: Definition, params: Any, batch: Batch, key: jax.Array | None, config: TrainConfig, *, training: bool
) -> Sums:
    """Sums of the objective over a batch; dropout with ``key``, smoothing and z-loss when training."""
    model = definition.bind(params)
    r_drop = config.r_drop if training and key is not None else 0.0
    if r_drop:
        batch = twice(batch)
    targets_BT = batch["decoder_target_tokens"]
    return chunked_sums(
        model.predict(batch, key),
        targets_BT,
        batch["decoder_loss_weights"],
        chunk=max(1, config.loss_chunk_tokens // rows_per_device(targets_BT.shape[0])),
        label_smoothing=config.label_smoothing if training else 0.0,
        z_loss=config.z_loss if training else 0.0,
        r_drop=r_drop,
    )


def rows_per_device(rows: int) -> int:
    """How many of a batch's rows a device holds, under the mesh that is set."""
    mesh = jax.sharding.get_abstract_mesh()
    return rows if mesh.empty else max(1, rows // (mesh.shape["data"] * mesh.shape["fsdp"]))


def init_state(definition: Definition, optimizer: optax.GradientTransformation, experiment: Experiment) -> State:
    """The state before the first step. Trace it under ``jax.jit`` with the shardings of ``state_shardings``."""
    params = definition.init(jax.random.key(experiment.seed))
    opt_state = optimizer.init(trained(params, experiment.optimizer))
    state = {"step": jnp.zeros((), jnp.int32), "params": params, "opt_state": opt_state}
    if experiment.train.ema_decay:
        state["ema"] = jax.tree.map(jnp.copy, params)
    return state


def state_shardings(definition: Definition, abstract: State, mesh: Mesh) -> State:
    """Shardings of a whole state: optimizer moments lie as their parameters do, all else on every device."""
    params = definition.shardings(mesh)
    by_path = {names(path): sharding for path, sharding in jax.tree_util.tree_leaves_with_path(params)}
    shapes = {names(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(abstract["params"])}

    def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        whole = names(path)
        for start in range(len(whole)):
            tail = whole[start:]
            if tail in by_path and shapes[tail] == leaf.shape:
                return by_path[tail]
        return NamedSharding(mesh, PartitionSpec())

    return jax.tree_util.tree_map_with_path(place, abstract)


def make_train_step(
    definition: Definition, optimizer: optax.GradientTransformation, experiment: Experiment
) -> Callable[[State, Batch], tuple[State, dict[str, jax.Array]]]:
    """One optimizer step as a pure function of (state, global batch), to be jitted with the state donated.

    Microbatches and hosts add up sums; the one division by the weight comes last. Each microbatch draws its own
    dropout key, folded from (seed, step, index).
    """
    config = experiment.train
    rate = learning_rate(experiment.optimizer, config.steps)

    def accumulate(params: Any, batch: Batch, key: jax.Array) -> tuple[Any, Sums]:
        def objective(moving: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, Sums]:
            sums = loss_sums(definition, with_frozen(moving, params), batch, key, config, training=True)
            return sums["loss"], sums

        moving = trained(params, experiment.optimizer)
        gradient = functools.partial(jax.grad(objective, has_aux=True), moving)
        if config.microbatches == 1:
            return gradient(batch, jax.random.fold_in(key, 0))
        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(gradient, batch, key))

        def body(total: Any, item: tuple[Batch, jax.Array]) -> tuple[Any, None]:
            part, index = item
            return jax.tree.map(jnp.add, total, gradient(part, jax.random.fold_in(key, index))), None

        return jax.lax.scan(body, zero, (split_rows(batch, config.microbatches), jnp.arange(config.microbatches)))[0]

    def train_step(state: State, batch: Batch) -> tuple[State, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(experiment.seed + 1), state["step"])
        gradients, sums = accumulate(state["params"], batch, key)
        weight = jnp.maximum(sums["weight"], 1.0)
        gradients = jax.tree.map(lambda gradient: gradient / weight, gradients)
        moving = trained(state["params"], experiment.optimizer)
        updates, opt_state = optimizer.update(gradients, state["opt_state"], moving)
        params = with_frozen(optax.apply_updates(moving, updates), state["params"])
        metrics = {
            **sums,
            "gradient_norm": optax.tree.norm(gradients),
            "update_norm": optax.tree.norm(updates),
            "learning_rate": jnp.asarray(rate(state["step"]), jnp.float32),
            "source_tokens": jnp.sum(batch["encoder_segment_ids"] > 0).astype(jnp.float32),
            "target_tokens": jnp.sum(batch["decoder_segment_ids"] > 0).astype(jnp.float32),
        }
        new = {"step": state["step"] + 1, "params": params, "opt_state": opt_state}
        if config.ema_decay:
            new["ema"] = optax.incremental_update(params, state["ema"], 1 - config.ema_decay)
        return new, metrics

    return train_step


def split_rows(batch: Batch, parts: int) -> dict[str, jax.Array]:
    """A leading axis of microbatches; each takes every n-th row, so rows stay on the devices that hold them."""

    def split(x: jax.Array) -> jax.Array:
        return jnp.swapaxes(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1)

    return {name: meshes.constrain(split(x), None, "batch", *(None,) * (x.ndim - 1)) for name, x in batch.items()}


def make_eval_step(definition: Definition, config: TrainConfig) -> Callable[[Any, Batch], dict[str, jax.Array]]:
    """Sums over one held-out batch: no dropout, no smoothing, no z-loss."""

    def eval_step(params: Any, batch: Batch) -> dict[str, jax.Array]:
        return loss_sums(definition, params, batch, None, config, training=False)

    return eval_step


class Compiled:
    """The functions of a run, jitted for a mesh with shardings in and out and the state donated."""

    def __init__(self, experiment: Experiment, vocab_size: int, mesh: Mesh) -> None:
        self.mesh = mesh
        self.definition = Definition(experiment.model, vocab_size)
        self.optimizer = make_optimizer(experiment.optimizer, experiment.train.steps)

        def init() -> State:
            return init_state(self.definition, self.optimizer, experiment)

        self.abstract_state = jax.eval_shape(init)
        self.shardings = state_shardings(self.definition, self.abstract_state, mesh)
        everywhere = meshes.replicated(mesh)
        self._init = jax.jit(init, out_shardings=self.shardings)
        self._train = jax.jit(
            make_train_step(self.definition, self.optimizer, experiment),
            out_shardings=(self.shardings, everywhere),
            donate_argnums=0,
        )
        self._eval = jax.jit(make_eval_step(self.definition, experiment.train), out_shardings=everywhere)

    def abstract_state_on_mesh(self) -> State:
        """Shape, dtype and sharding of each array of the state: what a checkpoint is restored into."""
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            self.abstract_state,
            self.shardings,
        )

    def init(self) -> State:
        """A fresh state on the mesh."""
        with jax.set_mesh(self.mesh):
            return self._init()

    def train_step(self, state: State, batch: Batch) -> tuple[State, dict[str, jax.Array]]:
        """The state after one step (the given one is consumed) and the step's metrics, not yet fetched."""
        with jax.set_mesh(self.mesh):
            return self._train(state, batch)

    def eval_step(self, params: Any, batch: Batch) -> dict[str, jax.Array]:
        """Sums over one held-out batch, not yet fetched."""
        with jax.set_mesh(self.mesh):
            return self._eval(params, batch)
