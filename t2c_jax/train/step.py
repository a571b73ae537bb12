"""The train step: one optimizer update as a pure function, and a run's compiled functions."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Key

from t2c_jax import mesh as meshes
from t2c_jax.config import DataConfig, Experiment, LoraConfig, TrainConfig
from t2c_jax.models import lora
from t2c_jax.models.definition import Definition
from t2c_jax.models.seq2seq import Seq2Seq
from t2c_jax.train.batch_loss import Batch, add_head, contrastive_vectors, loss_sums
from t2c_jax.train.cross_entropy import Sums
from t2c_jax.train.encoder_losses import contrastive_sums
from t2c_jax.train.gradcache import Cotangents, gradcache_backward, gradcache_forward
from t2c_jax.train.optimizer import Optimizer, learning_rate_schedule
from t2c_jax.train.r_drop import predict_twice
from t2c_jax.train.state import (
    State,
    init_state,
    named_key,
    optimizer_of,
    parameter_counts,
    state_shardings,
    trainable_key,
)
from t2c_jax.train.telemetry.flops import forward_flops

Shapes = Mapping[str, tuple[tuple[int, ...], np.dtype]]


def make_train_step(
    definition: Definition,
    optimizer: Optimizer,
    *,
    seed: int,
    data: DataConfig,
    lora_config: LoraConfig,
    train: TrainConfig,
) -> Callable[..., tuple[State, dict[str, Array]]]:
    """One optimizer step as a pure function of (state, global batch), to be jitted with the state donated.

    Microbatches and hosts add up sums, and the one division by the weight comes last. Each microbatch has a dropout key
    of its own, folded from (seed, step, index). The learning rate is a function of ``state["step"]``.

    A third argument is an upper limit of the loss per token, float32. A step is skipped whose loss is above it, or,
    with config.train.on_nonfinite=skip, whose gradients are not finite: ``step`` counts it, and the rest of the state
    stays as it was.
    """
    schedule, info = learning_rate_schedule(optimizer.config, train.steps), definition.parameter_info()

    def bind(params: Any, state: State, key: Key[Array, ""]) -> tuple[Seq2Seq, Key[Array, ""]]:
        """The model with these trainable parameters, and the key of its dropout."""
        model_key, adapters_key = jax.random.split(key)
        whole = optimizer.merge_frozen(params, state[trainable_key(state)])
        if "adapters" in state:
            whole = lora.merged(state["params"], whole, info, lora_config, adapters_key)
        return definition.bind(whole), model_key

    def train_step(state: State, batch: Batch, limit: Array | None = None) -> tuple[State, dict[str, Array]]:
        key = jax.random.fold_in(named_key(seed, "dropout"), state["step"])
        optimised = state[trainable_key(state)]
        params = optimizer.trainable(optimised)

        def loss_fn(
            params: Any, batch: Batch, index: Array, contrastive_loss: Callable[..., Sums] = contrastive_sums
        ) -> tuple[Array, Sums]:
            model, model_key = bind(params, state, jax.random.fold_in(key, index))
            sums = loss_sums(model, batch, model_key, train, data, training=True, contrastive_loss=contrastive_loss)
            return sums["loss"], sums

        def embed(batch: Batch, index: Array) -> tuple[Array, Array]:
            model, model_key = bind(params, state, jax.random.fold_in(key, index))
            prediction = predict_twice(model, batch, model_key)[1] if train.r_drop else model.predict(batch, model_key)
            return contrastive_vectors(model, prediction.encoded, data.pairs_in_row)

        gradient = jax.grad(loss_fn, has_aux=True)
        if train.microbatches == 1:
            gradients, sums = gradient(params, batch, jnp.zeros((), jnp.int32))
        else:
            microbatches = split_rows(batch, train.microbatches)
            gradients, sums = accumulate(functools.partial(gradient, params), embed, microbatches, train)
        weight = jnp.maximum(sums["denominator"], 1.0)
        gradients = jax.tree.map(lambda gradient: gradient / weight, gradients)

        rate = jnp.asarray(schedule(state["step"]), jnp.float32)
        updates, opt_state = optimizer.updates(gradients, state["opt_state"], params, rate)
        updated = optax.apply_updates(params, updates)
        metrics = {
            **sums,
            "gradient_norm": optax.tree.norm(gradients),
            "update_norm": optax.tree.norm(updates),
            "learning_rate": rate,
            "source_tokens": jnp.sum(batch["encoder_segment_ids"] > 0).astype(jnp.float32),
            "target_tokens": jnp.sum(batch["decoder_segment_ids"] > 0).astype(jnp.float32),
        }
        new = {**state, "step": state["step"] + 1, "opt_state": opt_state}
        new[trainable_key(state)] = optimizer.merge_frozen(updated, optimised)
        if train.ema_decay:  # frozen parameters are left out: an average of equal numbers is not always that number
            decay = ema_decay(train.ema_decay, state["step"])
            averages = optimizer.trainable(state["ema"])
            averages = optax.incremental_update(updated, averages, 1 - decay)
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


def accumulate(
    gradient: Callable[..., tuple[Any, Sums]],
    embed: Callable[[Batch, Array], tuple[Array, Array]],
    microbatches: Batch,
    train: TrainConfig,
) -> tuple[Any, Sums]:
    """Gradients and sums of a batch, added up over its microbatches; only one microbatch's activations exist at a time.

    Args:
      gradient: of (microbatch, its number, contrastive loss): gradients and sums.
      embed: of (microbatch, its number): vectors for the contrastive loss, and its temperature.
      microbatches: the batch, as ``split_rows`` gives it.
      train: the weight of the contrastive loss.
    """
    numbers = jnp.arange(train.microbatches)
    cotangents: Cotangents | None = None
    if "contrastive_pairs" in microbatches:
        contrastive, cotangents = gradcache_forward(embed, microbatches)

    def body(total: Any, item: tuple[Batch, Array, Cotangents | None]) -> tuple[Any, None]:
        microbatch, number, cotangents = item
        contrastive_loss = contrastive_sums if cotangents is None else gradcache_backward(cotangents)
        return jax.tree.map(jnp.add, total, gradient(microbatch, number, contrastive_loss)), None

    first = jax.tree.map(lambda x: x[0], (microbatches, numbers))
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(gradient, *first))
    (gradients, sums), _ = jax.lax.scan(body, zero, (microbatches, numbers, cotangents))
    if cotangents is not None:
        sums = add_head(sums, contrastive, "contrastive", train.contrastive_weight)
    return gradients, sums


def split_rows(batch: Batch, parts: int) -> dict[str, Array]:
    """A leading axis of microbatches; each takes every n-th row, so rows stay on the devices that hold them."""

    def split(x: Array) -> Array:
        return jnp.swapaxes(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1)

    return {name: meshes.constrain(split(x), None, "batch", *(None,) * (x.ndim - 1)) for name, x in batch.items()}


def ema_decay(most: float, step: Array) -> Array:
    """min(most, (1 + t) / (10 + t)) at step t, from 0: the decay of the moving average of the parameters.

    The averaging window grows with the run, as in TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``. With
    a decay of 0.998 from the start, a third of the average after 550 steps would be the initial parameters.
    """
    return jnp.minimum(most, (1.0 + step) / (10.0 + step))


class Compiled:
    """The functions of a run, jitted for a mesh with shardings in and out and the state donated.

    Attributes:
      definition, optimizer, mesh: what they are made of.
      abstract_state: shapes and dtypes of the train state; ``shardings`` its layout.
      parameters, trained: how many parameters there are, and how many of them are trained.
      step_function: the train step before it is jitted.
    """

    def __init__(
        self, experiment: Experiment, vocab_size: int, mesh: Mesh, modules_to_save: Collection[str] = ()
    ) -> None:
        """Traces nothing yet.

        Args:
          experiment: the run's config.
          vocab_size: of the tokenizer that writes targets.
          mesh: the run's devices.
          modules_to_save: dotted paths of the parameters that train in full beside adapters.
        """
        self.mesh, self._config = mesh, experiment
        self.definition = Definition(experiment.model, vocab_size)
        self.optimizer = optimizer_of(self.definition, experiment.optimizer, experiment.lora, modules_to_save)

        def init() -> State:
            return init_state(
                self.definition,
                self.optimizer,
                seed=experiment.seed,
                lora_config=experiment.lora,
                ema=experiment.train.ema_decay > 0,
                modules_to_save=modules_to_save,
            )

        def evaluation_params(state: State) -> dict[str, Any]:
            adapters = state["ema" if "ema" in state else "adapters"]
            return lora.merged(state["params"], adapters, self.definition.parameter_info(), experiment.lora)

        def eval_step(params: Any, batch: Batch) -> Sums:
            model = self.definition.bind(params)
            return loss_sums(model, batch, None, experiment.train, experiment.data, training=False)

        self.abstract_state = jax.eval_shape(init)
        self.shardings = state_shardings(self.definition, self.abstract_state, mesh, experiment.lora, modules_to_save)
        self.parameters, self.trained = parameter_counts(self.abstract_state, self.optimizer)
        self.step_function = make_train_step(
            self.definition,
            self.optimizer,
            seed=experiment.seed,
            data=experiment.data,
            lora_config=experiment.lora,
            train=experiment.train,
        )
        replicated = meshes.replicated(mesh)
        self._init = jax.jit(init, out_shardings=self.shardings)
        self._train = jax.jit(self.step_function, out_shardings=(self.shardings, replicated), donate_argnums=0)
        self._evaluation_params = jax.jit(evaluation_params, out_shardings=self.definition.shardings(mesh))
        self._eval = jax.jit(eval_step, out_shardings=replicated)

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
        """The model's parameters to evaluate: the moving average where there is one, with adapters merged in."""
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
        config = self._config
        # Inside another kernel than the plain formula, products could not be counted.
        plain = dataclasses.replace(config.model, attention="xla")
        definition = Definition(plain, self.definition.vocab_size)

        def forward(params: Any, batch: Any) -> Any:
            return loss_sums(definition.bind(params), batch, None, config.train, config.data, training=True)["loss"]

        arrays = {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in batch.items()}
        return 3.0 * forward_flops(forward, definition.abstract_params(), arrays)
