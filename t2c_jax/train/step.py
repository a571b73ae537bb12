"""The train state, and the one compiled step that moves it.

The state is a plain nested dict: ``step`` (steps taken), ``params``, ``opt_state`` and, where they are asked for,
``adapters`` and ``ema``. Where there are adapters they are what trains, and is averaged, with what stands beside them;
``params`` then stay as they came, and are no part of a checkpoint.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from t2c_jax import mesh as meshes
from t2c_jax.config import Experiment, LoraConfig, OptimizerConfig
from t2c_jax.models import lora
from t2c_jax.models.definition import Definition, count, names
from t2c_jax.models.interface import Encoded
from t2c_jax.models.seq2seq import Prediction
from t2c_jax.train.encoder_losses import contrastive_sums, tagging_sums
from t2c_jax.train.gradcache import Cotangents, of_one_part, over_all_parts
from t2c_jax.train.loss import Sums, chunked_sums
from t2c_jax.train.optimizer import learning_rate, make_optimizer, scaled, trained, with_frozen
from t2c_jax.train.r_drop import predict_twice

State = dict[str, Any]
Batch = Mapping[str, jax.Array]


def loss_sums(
    definition: Definition,
    params: Any,
    batch: Batch,
    key: jax.Array | None,
    experiment: Experiment,
    *,
    training: bool,
    contrast: Callable[..., Sums] = contrastive_sums,
) -> Sums:
    """Sums of all objectives over a batch; dropout with ``key``, smoothing and z-loss when training.

    ``loss`` is what is minimised, the decoder's and the heads' together, to be divided by ``denominator``: target
    tokens by their weights, tagged tokens and contrastive pairs by config.train's. In a mixture ``task_nll`` and
    ``task_weight`` are the decoder's by task. ``contrast`` is another than ``contrastive_sums`` where the batch is part
    of a larger one.
    """
    config, tasks = experiment.train, len(experiment.data.tasks)
    model = definition.bind(params)
    r_drop = config.r_drop if training and key is not None else 0.0
    given, prediction = predict(model, batch, key, r_drop)
    heads, targets_BT = model.heads, given["decoder_target_tokens"]
    sums = chunked_sums(
        prediction,
        targets_BT,
        given["decoder_loss_weights"],
        chunk=max(1, config.loss_chunk_tokens // rows_per_device(targets_BT.shape[0])),
        label_smoothing=config.label_smoothing if training else 0.0,
        z_loss=config.z_loss if training else 0.0,
        r_drop=r_drop,
    )
    nll_B, weight_B = sums.pop("nll_B"), sums.pop("weight_B")
    sums["denominator"] = sums["weight"]
    if "task" in given:
        is_task_KB = (given["task"][None] == jnp.arange(tasks)[:, None]).astype(jnp.float32)
        sums["task_nll"], sums["task_weight"] = is_task_KB @ nll_B, is_task_KB @ weight_B
    if "encoder_tags" in batch:
        tagged = tagging_sums(heads.tagging(prediction.encoded.states_BSE), batch["encoder_tags"])
        sums = with_head(sums, tagged, "tagging", config.tagging_weight)
    if "contrastive_pairs" in batch:
        vectors_BMP, temperature = contrastive_vectors(model, prediction.encoded, experiment)
        paired = contrast(vectors_BMP, batch["contrastive_pairs"], temperature)
        sums = with_head(sums, paired, "contrastive", config.contrastive_weight)
    return sums


def predict(model: Any, batch: Batch, key: jax.Array | None, r_drop: float) -> tuple[Batch, Prediction]:
    """What the model makes of a batch, and the batch as it was given: under R-Drop each row twice."""
    return predict_twice(model, batch, key) if r_drop else (batch, model.predict(batch, key))


def contrastive_vectors(model: Any, encoded: Encoded, experiment: Experiment) -> tuple[jax.Array, jax.Array]:
    """Unit vectors of the pairs of each row, (B, M, P), and the temperature of their similarities."""
    embedding = model.heads.embedding
    return embedding(encoded, 2 * experiment.data.pairs_in_row), embedding.temperature()


def with_head(sums: Sums, found: Sums, kind: str, weight: float) -> Sums:
    """All sums with those of a head, whose cost has that weight beside a target token's."""
    loss = sums["loss"] + weight * found[f"{kind}_nll"]
    return {**sums, **found, "loss": loss, "denominator": sums["denominator"] + weight * found[f"{kind}_weight"]}


def rows_per_device(rows: int) -> int:
    """How many of a batch's rows a device holds, under the mesh that is set."""
    return max(1, rows // meshes.row_shards())


def subject(state: State) -> str:
    """The key of what trains."""
    return "adapters" if "adapters" in state else "params"


def stored(state: State) -> State:
    """What a checkpoint holds of a state: not the parameters under adapters, which are another workdir's."""
    return {name: part for name, part in state.items() if name != "params" or subject(state) == "params"}


def model_params(
    state: State, definition: Definition, config: LoraConfig, key: jax.Array | None = None
) -> dict[str, Any]:
    """The parameters to bind: the state's, its adapters merged in where it has any; ``key`` is of their dropout."""
    if "adapters" not in state:
        return state["params"]
    return lora.merged(state["params"], state["adapters"], definition.axis_names(), config, key)


def init_state(
    definition: Definition,
    optimizer: optax.GradientTransformation,
    experiment: Experiment,
    beside: Collection[str] = (),
) -> State:
    """The state before the first step. Trace it under ``jax.jit`` with the shardings of ``state_shardings``.

    ``beside`` are dotted paths of the parameters that train in full beside adapters.
    """
    params = definition.init(jax.random.key(experiment.seed))
    state = {"step": jnp.zeros((), jnp.int32), "params": params}
    if experiment.lora.rank:
        key = jax.random.key(experiment.seed + 2)
        state["adapters"] = lora.init(key, params, definition.axis_names(), experiment.lora, beside)
        state["params"] = lora.divided(params, beside)[0]
    training = state[subject(state)]
    state["opt_state"] = optimizer.init(trained(training, experiment.optimizer))
    if experiment.train.ema_decay:
        state["ema"] = jax.tree.map(jnp.copy, training)
    return state


def state_shardings(
    definition: Definition, abstract: State, mesh: Mesh, config: LoraConfig, beside: Collection[str] = ()
) -> State:
    """Shardings of a whole state: optimizer moments lie as their parameters do, all else on every device."""
    by_path: dict[tuple[str, ...], NamedSharding] = {}
    shapes: dict[tuple[str, ...], tuple[int, ...]] = {}

    def add(key: str, shardings: Any) -> None:
        for (path, sharding), leaf in zip(
            jax.tree_util.tree_leaves_with_path(shardings), jax.tree.leaves(abstract[key]), strict=True
        ):
            by_path[names(path)], shapes[names(path)] = sharding, leaf.shape

    add("params", lora.divided(definition.shardings(mesh), beside)[0])
    if "adapters" in abstract:
        add("adapters", meshes.shardings(lora.axis_names(definition.axis_names(), config, beside), mesh))

    def alike(shape: tuple[int, ...], tail: tuple[str, ...]) -> bool:
        whole = shapes[tail]  # moments of a stack frozen in part have fewer layers, and no layer axis is ever split
        some_layers = len(shape) == len(whole) > 1 and by_path[tail].spec[0] is None and shape[0] <= whole[0]
        return shape == whole or (some_layers and shape[1:] == whole[1:])

    def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        whole = names(path)
        for start in range(len(whole)):
            tail = whole[start:]
            if tail in by_path and alike(leaf.shape, tail):
                return by_path[tail]
        return NamedSharding(mesh, PartitionSpec())

    return jax.tree_util.tree_map_with_path(place, abstract)


def make_train_step(
    definition: Definition, optimizer: optax.GradientTransformation, experiment: Experiment
) -> Callable[..., tuple[State, dict[str, jax.Array]]]:
    """One optimizer step as a pure function of (state, global batch), to be jitted with the state donated.

    Microbatches and hosts add up sums; the one division by the weight comes last. Each microbatch draws its own
    dropout key, folded from (seed, step, index). A third argument is a loss per token, float32: a step whose loss is
    above it, or whose gradients are not finite where config.train.on_nonfinite is skip, counts but moves nothing else.
    """
    config = experiment.train
    rate = learning_rate(experiment.optimizer, config.steps)

    def accumulate(state: State, batch: Batch, key: jax.Array) -> tuple[Any, Sums]:
        name = subject(state)

        def whole_params(moving: Any, key: jax.Array) -> Any:
            whole = {**state, name: with_frozen(moving, state[name], experiment.optimizer)}
            # Far from the numbers under which the layers fold in or split off their own keys.
            return model_params(whole, definition, experiment.lora, jax.random.fold_in(key, 2**30))

        def objective(
            moving: Any, batch: Batch, key: jax.Array, contrast: Callable[..., Sums] = contrastive_sums
        ) -> tuple[jax.Array, Sums]:
            params = whole_params(moving, key)
            sums = loss_sums(definition, params, batch, key, experiment, training=True, contrast=contrast)
            return sums["loss"], sums

        moving = trained(state[name], experiment.optimizer)
        gradient = functools.partial(jax.grad(objective, has_aux=True), moving)
        if config.microbatches == 1:
            return gradient(batch, jax.random.fold_in(key, 0))
        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(gradient, batch, key))
        parts, numbers = split_rows(batch, config.microbatches), jnp.arange(config.microbatches)

        def embed(part: Batch, index: jax.Array) -> tuple[jax.Array, jax.Array]:
            own = jax.random.fold_in(key, index)
            model = definition.bind(whole_params(moving, own))
            return contrastive_vectors(model, predict(model, part, own, config.r_drop)[1].encoded, experiment)

        contrasted = over_all_parts(embed, parts) if "contrastive_pairs" in batch else None

        def body(total: Any, item: tuple[Batch, jax.Array, Cotangents | None]) -> tuple[Any, None]:
            part, index, cotangents = item
            contrast = contrastive_sums if cotangents is None else of_one_part(cotangents)
            return jax.tree.map(jnp.add, total, gradient(part, jax.random.fold_in(key, index), contrast)), None

        cotangents = None if contrasted is None else contrasted[1]
        (gradients, sums), _ = jax.lax.scan(body, zero, (parts, numbers, cotangents))
        if contrasted is not None:
            sums = with_head(sums, contrasted[0], "contrastive", config.contrastive_weight)
        return gradients, sums

    def train_step(state: State, batch: Batch, limit: jax.Array | None = None) -> tuple[State, dict[str, jax.Array]]:
        key = jax.random.fold_in(jax.random.key(experiment.seed + 1), state["step"])
        gradients, sums = accumulate(state, batch, key)
        weight = jnp.maximum(sums["denominator"], 1.0)
        gradients = jax.tree.map(lambda gradient: gradient / weight, gradients)
        name = subject(state)
        moving = trained(state[name], experiment.optimizer)
        updates, opt_state = optimizer.update(gradients, state["opt_state"], moving)
        updates = scaled(updates, state[name], experiment.optimizer)
        moved = optax.apply_updates(moving, updates)
        metrics = {
            **sums,
            "gradient_norm": optax.tree.norm(gradients),
            "update_norm": optax.tree.norm(updates),
            "learning_rate": jnp.asarray(rate(state["step"]), jnp.float32),
            "source_tokens": jnp.sum(batch["encoder_segment_ids"] > 0).astype(jnp.float32),
            "target_tokens": jnp.sum(batch["decoder_segment_ids"] > 0).astype(jnp.float32),
        }
        whole = with_frozen(moved, state[name], experiment.optimizer)
        new = {**state, "step": state["step"] + 1, name: whole, "opt_state": opt_state}
        if config.ema_decay:  # of what moves alone: an average of equal numbers is not always that number
            before = trained(state["ema"], experiment.optimizer)
            decay = average_decay(config.ema_decay, state["step"])
            averaged = optax.incremental_update(moved, before, 1 - decay)
            new["ema"] = with_frozen(averaged, state["ema"], experiment.optimizer)
        if config.on_nonfinite == "skip" or limit is not None:
            loss = sums["loss"] / weight
            good = jnp.isfinite(loss) & jnp.isfinite(metrics["gradient_norm"])
            good &= loss <= (jnp.inf if limit is None else limit)
            metrics["skipped"] = 1.0 - good
            kept = jax.tree.map(functools.partial(jnp.where, good), new, state)
            new = {**kept, "step": new["step"]}
        return new, metrics

    return train_step


def average_decay(most: float, step: jax.Array) -> jax.Array:
    """min(most, (1 + t) / (10 + t)) at step t, from 0, of the moving average of the parameters.

    Its reach grows with the run, as in TensorFlow's ``ExponentialMovingAverage`` with ``num_updates``: with a decay of
    0.998 from the start, a third of a run of 550 steps' average would be what the run started from.
    """
    return jnp.minimum(most, (1.0 + step) / (10.0 + step))


def split_rows(batch: Batch, parts: int) -> dict[str, jax.Array]:
    """A leading axis of microbatches; each takes every n-th row, so rows stay on the devices that hold them."""

    def split(x: jax.Array) -> jax.Array:
        return jnp.swapaxes(x.reshape(x.shape[0] // parts, parts, *x.shape[1:]), 0, 1)

    return {name: meshes.constrain(split(x), None, "batch", *(None,) * (x.ndim - 1)) for name, x in batch.items()}


def make_eval_step(definition: Definition, experiment: Experiment) -> Callable[[Any, Batch], dict[str, jax.Array]]:
    """Sums over one held-out batch: no dropout, no smoothing, no z-loss."""

    def eval_step(params: Any, batch: Batch) -> dict[str, jax.Array]:
        return loss_sums(definition, params, batch, None, experiment, training=False)

    return eval_step


def counts(abstract: State, config: OptimizerConfig) -> tuple[int, int]:
    """How many parameters there are, adapters counted in, and how many of them train."""
    moving = jax.eval_shape(lambda tree: trained(tree, config), abstract[subject(abstract)])
    return count(abstract["params"]) + count(abstract.get("adapters", {})), count(moving)


class Compiled:
    """The functions of a run, jitted for a mesh with shardings in and out and the state donated.

    ``beside`` are dotted paths of the parameters that train in full beside adapters (``initial.beside_adapters``).
    """

    def __init__(self, experiment: Experiment, vocab_size: int, mesh: Mesh, beside: Collection[str] = ()) -> None:
        self.mesh, self.experiment = mesh, experiment
        self.definition = Definition(experiment.model, vocab_size)
        self.optimizer = make_optimizer(experiment.optimizer, experiment.train.steps)

        def init() -> State:
            return init_state(self.definition, self.optimizer, experiment, beside)

        self.abstract_state = jax.eval_shape(init)
        self.shardings = state_shardings(self.definition, self.abstract_state, mesh, experiment.lora, beside)
        self.parameters, self.trained = counts(self.abstract_state, experiment.optimizer)
        everywhere = meshes.replicated(mesh)
        self._init = jax.jit(init, out_shardings=self.shardings)
        self._train = jax.jit(
            make_train_step(self.definition, self.optimizer, experiment),
            out_shardings=(self.shardings, everywhere),
            donate_argnums=0,
        )
        self._merged = jax.jit(
            functools.partial(model_params, definition=self.definition, config=experiment.lora),
            out_shardings=self.definition.shardings(mesh),
        )
        self._eval = jax.jit(make_eval_step(self.definition, experiment), out_shardings=everywhere)

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

    def train_step(
        self, state: State, batch: Batch, limit: np.float32 | None = None
    ) -> tuple[State, dict[str, jax.Array]]:
        """The state after one step (the given one is consumed) and the step's metrics, not yet fetched.

        A loss per token above ``limit`` moves nothing (``make_train_step``).
        """
        with jax.set_mesh(self.mesh):
            return self._train(state, batch) if limit is None else self._train(state, batch, limit)

    def lower(self, batch: Mapping[str, jax.ShapeDtypeStruct]) -> jax.stages.Lowered:
        """The train step for batches of these shapes, to be compiled for the mesh's devices, which need not be here."""
        rows = NamedSharding(self.mesh, meshes.partition_spec(("batch",)))
        arrays = {name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows) for name, x in batch.items()}
        with jax.set_mesh(self.mesh):
            return self._train.lower(self.abstract_state_on_mesh(), arrays)

    def averaged(self, state: State) -> dict[str, Any]:
        """The parameters to measure and to answer with: their moving average where there is one, adapters merged in."""
        if "adapters" not in state:
            return state["ema"] if "ema" in state else state["params"]
        with jax.set_mesh(self.mesh):
            return self._merged({"params": state["params"], "adapters": state.get("ema", state["adapters"])})

    def eval_step(self, params: Any, batch: Batch) -> dict[str, jax.Array]:
        """Sums over one held-out batch, not yet fetched."""
        with jax.set_mesh(self.mesh):
            return self._eval(params, batch)
