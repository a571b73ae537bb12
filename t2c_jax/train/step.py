"""The train step: one optimizer update as a pure function, and a run's compiled functions."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Key

from t2c_jax import mesh as meshes
from t2c_jax.checkpoints.pytrees import abstract_on
from t2c_jax.config import DataConfig, TrainConfig
from t2c_jax.models import lora
from t2c_jax.models.definition import Definition
from t2c_jax.models.seq2seq import Seq2Seq
from t2c_jax.train.averaging import gradient_point, share_of_newest
from t2c_jax.train.batch_loss import Batch, add_head, contrastive_vectors, loss_sums
from t2c_jax.train.cross_entropy import Sums
from t2c_jax.train.encoder_losses import contrastive_sums
from t2c_jax.train.gradcache import Cotangents, gradcache_backward, gradcache_forward
from t2c_jax.train.optimizer import learning_rate_schedule
from t2c_jax.train.r_drop import predict_twice
from t2c_jax.train.state import State, Trainable, named_key, trainable_key
from t2c_jax.train.telemetry.flops import forward_flops

Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype]]


def make_train_step(
    trainable: Trainable, train: TrainConfig, data: DataConfig
) -> Callable[..., tuple[State, dict[str, Array]]]:
    """One optimizer step as a pure function of (state, global batch), to be jitted with the state donated.

    Microbatches and hosts add up sums, and the one division by the weight comes last. Each microbatch has a dropout key
    of its own, folded from (seed, step, index), and only one microbatch's activations exist at a time. The learning
    rate is a function of ``state["step"]``.

    A third argument is an upper limit of the loss per token, float32. A step is skipped whose loss is above it, or,
    with config.train.on_nonfinite=skip, whose gradients are not finite: ``step`` counts it, and the rest of the state
    stays as it was.
    """
    definition, optimizer = trainable.definition, trainable.optimizer
    schedule, info = learning_rate_schedule(optimizer.config, train.steps), definition.parameter_info()
    gradient = jax.grad(functools.partial(loss_sums, train=train, data=data, training=True), argnums=1, has_aux=True)

    def bind(state: State, adapters_key: Key[Array, ""], params: Any) -> Seq2Seq:
        """The model with these trainable parameters."""
        whole = optimizer.merge_frozen(params, state[trainable_key(state)])
        if "adapters" in state:
            whole = lora.merged(state["params"], whole, info, trainable.lora_config, adapters_key)
        return definition.bind(whole)

    def train_step(state: State, batch: Batch, limit: Array | None = None) -> tuple[State, dict[str, Array]]:
        key = jax.random.fold_in(named_key(trainable.seed, "dropout"), state["step"])
        params = optimizer.trainable(state[trainable_key(state)])
        if trainable.ema:
            params = gradient_point(optimizer.config, params, optimizer.trainable(state["ema"]))

        def microbatch_model(index: Array | int) -> tuple[Callable[[Any], Seq2Seq], Key[Array, ""]]:
            """``bind`` with the dropout of a microbatch's adapters, and the key of the model's."""
            model_key, adapters_key = jax.random.split(jax.random.fold_in(key, index))
            return functools.partial(bind, state, adapters_key), model_key

        def embed(batch: Batch, index: Array) -> tuple[Array, Array]:
            bound, model_key = microbatch_model(index)
            model = bound(params)
            prediction = predict_twice(model, batch, model_key)[1] if train.r_drop else model.predict(batch, model_key)
            return contrastive_vectors(model, prediction.encoded, data.pairs_in_row)

        def add_gradients(total: Any, item: tuple[Batch, Array, Cotangents | None]) -> tuple[Any, None]:
            microbatch, index, cotangents = item
            bound, model_key = microbatch_model(index)
            contrastive_loss = contrastive_sums if cotangents is None else gradcache_backward(cotangents)
            found = gradient(bound, params, microbatch, model_key, contrastive_loss=contrastive_loss)
            return jax.tree.map(jnp.add, total, found), None

        bound, model_key = microbatch_model(0)
        if train.microbatches == 1:
            gradients, sums = gradient(bound, params, batch, model_key)
        else:
            microbatches, cotangents = split_rows(batch, train.microbatches), None
            if "contrastive_pairs" in batch:
                contrastive, cotangents = gradcache_forward(embed, microbatches)
            first = {name: x[0] for name, x in microbatches.items()}
            shapes = jax.eval_shape(functools.partial(gradient, bound), params, first, model_key)
            zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
            items = microbatches, jnp.arange(train.microbatches), cotangents
            (gradients, sums), _ = jax.lax.scan(add_gradients, zero, items)
            if cotangents is not None:
                sums = add_head(sums, contrastive, "contrastive", train.contrastive_weight)
        sums["source_tokens"] = jnp.sum(batch["encoder_segment_ids"] > 0).astype(jnp.float32)
        sums["target_tokens"] = jnp.sum(batch["decoder_segment_ids"] > 0).astype(jnp.float32)
        return update(state, params, gradients, sums, limit)

    def update(
        state: State, params: Any, gradients: Any, sums: Sums, limit: Array | None
    ) -> tuple[State, dict[str, Array]]:
        """The state after a step with these sums over the batch and their gradients at ``params``, and its metrics."""
        weight = jnp.maximum(sums["denominator"], 1.0)
        gradients = jax.tree.map(lambda gradient: gradient / weight, gradients)
        rate = jnp.asarray(schedule(state["step"]), jnp.float32)
        updates, opt_state = optimizer.updates(gradients, state["opt_state"], params, rate)
        updated = optax.apply_updates(optimizer.trainable(state[trainable_key(state)]), updates)
        metrics = {
            **sums,
            "gradient_norm": optax.tree.norm(gradients),
            "update_norm": optax.tree.norm(updates),
            "learning_rate": rate,
        }
        new = {**state, "step": state["step"] + 1, "opt_state": opt_state}
        new[trainable_key(state)] = optimizer.merge_frozen(updated, state[trainable_key(state)])
        if trainable.ema:  # frozen parameters are left out: an average of equal numbers is not always that number
            averages = optimizer.trainable(state["ema"])
            share = share_of_newest(train, optimizer.config, state["step"])
            averages = optax.incremental_update(updated, averages, share)
            new["ema"] = optimizer.merge_frozen(averages, state["ema"])
        if train.on_nonfinite == "skip" or limit is not None:
            loss = sums["loss"] / weight
            accepted = jnp.isfinite(loss) & jnp.isfinite(metrics["gradient_norm"])
            accepted &= loss <= (jnp.inf if limit is None else limit)
            metrics["skipped"] = 1.0 - accepted
            kept = jax.tree.map(functools.partial(jnp.where, accepted), new, state)
            new = {**kept, "step": new["step"]}
        return new, metrics

    return train_step


def split_rows(batch: Batch, parts: int) -> dict[str, Array]:
    """A leading axis of microbatches; each takes every n-th row, so rows stay on the devices that hold them."""

    def split(x: Array) -> Array:
        return jnp.swapaxes(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1)

    return {name: meshes.constrain(split(x), None, "batch", *(None,) * (x.ndim - 1)) for name, x in batch.items()}


class Compiled:
    """The functions of a run, jitted for a mesh with shardings in and out and the state donated.

    Attributes:
      definition, mesh: what they are made of.
      abstract_state: shapes and dtypes of the train state; ``shardings`` its layout.
      parameters, trained: how many parameters there are, and how many of them are trained.
      step_function: the train step before it is jitted.
    """

    def __init__(self, trainable: Trainable, train: TrainConfig, data: DataConfig, mesh: Mesh) -> None:
        """Traces nothing yet.

        Args:
          trainable: the model and what of it is trained.
          train: losses, microbatches, and what happens to steps that are not finite.
          data: tasks, and pairs in a row.
          mesh: the run's devices.
        """
        self.definition, self.mesh = trainable.definition, mesh
        self.abstract_state, self.shardings = trainable.abstract_state, trainable.shardings(mesh)
        self.parameters, self.trained = trainable.parameters, trainable.trained
        self._train_config, self._data = train, data

        def evaluation_params(state: State) -> dict[str, Any]:
            adapters = state["ema" if "ema" in state else "adapters"]
            return lora.merged(state["params"], adapters, self.definition.parameter_info(), trainable.lora_config)

        def eval_step(params: Any, batch: Batch) -> Sums:
            return loss_sums(self.definition.bind, params, batch, None, train, data, training=False)[1]

        self.step_function = make_train_step(trainable, train, data)
        replicated = meshes.replicated(mesh)
        self._init = jax.jit(trainable.init, out_shardings=self.shardings)
        self._train = jax.jit(self.step_function, out_shardings=(self.shardings, replicated), donate_argnums=0)
        self._evaluation_params = jax.jit(evaluation_params, out_shardings=self.definition.shardings(mesh))
        self._eval = jax.jit(eval_step, out_shardings=replicated)

    def abstract_state_on_mesh(self) -> State:
        """Shape, dtype and sharding of each array of the state: what a checkpoint is restored into."""
        return abstract_on(self.abstract_state, self.shardings)

    def init(self) -> State:
        """A fresh state on the mesh."""
        with jax.set_mesh(self.mesh):
            return self._init()

    def train_step(self, state: State, batch: Batch, limit: np.float32 | None = None) -> tuple[State, dict[str, Array]]:
        """The state after one step (the given one is consumed) and the step's metrics, not yet fetched.

        A step whose loss per token is above ``limit`` is skipped (``make_train_step``).
        """
        with jax.set_mesh(self.mesh):
            return self._train(state, batch) if limit is None else self._train(state, batch, limit)

    def eval_step(self, params: Any, batch: Batch) -> Sums:
        """Sums over one held-out batch, not yet fetched: no dropout, no smoothing, no z-loss."""
        with jax.set_mesh(self.mesh):
            return self._eval(params, batch)

    def evaluation_params(self, state: State) -> dict[str, Any]:
        """The model's parameters to evaluate: the average where there is one, with adapters merged in."""
        if "adapters" not in state:
            return state["ema"] if "ema" in state else state["params"]
        with jax.set_mesh(self.mesh):
            return self._evaluation_params(state)

    def lower(self, batch: Mapping[str, jax.ShapeDtypeStruct]) -> jax.stages.Lowered:
        """The train step for batches of these shapes, to be compiled for the mesh's devices, which need not be here."""
        rows = NamedSharding(self.mesh, meshes.partition_spec(("batch",)))
        arrays = {name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows) for name, x in batch.items()}
        with jax.set_mesh(self.mesh):
            return self._train.lower(self.abstract_state_on_mesh(), arrays)

    def model_flops(self, batch: Shapes) -> float:
        """Floating-point operations of the model in a train step on such a batch: the backward pass takes twice what
        the forward pass takes, and rematerialisation counts for nothing.

        Args:
          batch: shape and dtype of each of its arrays.
        """
        # Inside another kernel than the plain formula, products could not be counted.
        plain = dataclasses.replace(self.definition.config, attention="xla")
        definition = Definition(plain, self.definition.vocab_size)

        def forward(params: Any, batch: Any) -> Array:
            return loss_sums(definition.bind, params, batch, None, self._train_config, self._data, training=True)[0]

        arrays = {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in batch.items()}
        return 3.0 * forward_flops(forward, definition.abstract_params(), arrays)
