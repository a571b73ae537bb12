"""The loss of a batch: the decoder's cross-entropy and the losses of the heads over the encoder, as sums.

Letters: B batch, K tasks, T target, M segments of a row, P width of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from t2c_jax import mesh as meshes
from t2c_jax.config import DataConfig, TrainConfig
from t2c_jax.models.interface import Encoded
from t2c_jax.models.seq2seq import Seq2Seq
from t2c_jax.train.cross_entropy import Sums, chunked_cross_entropy
from t2c_jax.train.encoder_losses import contrastive_sums, tagging_sums
from t2c_jax.train.r_drop import predict_twice

Batch = Mapping[str, jax.Array]


def loss_sums(
    bind: Callable[[Any], Seq2Seq],
    params: Any,
    batch: Batch,
    key: Key[Array, ""] | None,
    train: TrainConfig,
    data: DataConfig,
    *,
    training: bool,
    contrastive_loss: Callable[..., Sums] = contrastive_sums,
) -> tuple[Float[Array, ""], Sums]:
    """Sums of all losses over a batch, to be divided once, after microbatches and hosts.

    Args:
      bind: gives the model with these parameters, such as ``Definition.bind``.
      params: what to take the gradient in.
      batch: by the batch contract (``data.pipeline``).
      key: of the dropout; None for none.
      train: weights of the losses, and options of the cross-entropy.
      data: tasks, and pairs in a row.
      training: whether to smooth labels and to add the z-loss and R-Drop's divergence.
      contrastive_loss: replaces ``contrastive_sums`` where the batch is a microbatch of a larger one.

    Returns:
      The loss, for ``jax.grad``; and all sums:
      ``loss``: what is minimised, to be divided by ``denominator``: target tokens by their weights, tagged tokens and
        contrastive pairs by config.train's weights.
      ``nll``, ``nll_squared``, ``correct``, ``weight``: of ``token_sums``; in a mixture ``task_nll`` and
        ``task_weight`` are the decoder's by task.
      ``tagging_*`` and ``contrastive_*``: of the heads, where the batch has such tasks.
    """
    model = bind(params)
    r_drop = train.r_drop if training and key is not None else 0.0
    targets: Batch
    if r_drop:
        targets, prediction = predict_twice(model, batch, key)
    else:
        targets, prediction = batch, model.predict(batch, key)
    rows = targets["decoder_target_tokens"].shape[0]
    sums = chunked_cross_entropy(
        prediction,
        targets["decoder_target_tokens"],
        targets["decoder_loss_weights"],
        chunk=max(1, train.loss_chunk_tokens // max(1, rows // meshes.row_shards())),
        label_smoothing=train.label_smoothing if training else 0.0,
        z_loss=train.z_loss if training else 0.0,
        r_drop=r_drop,
        logit_softcap=model.config.logit_softcap,
    )
    nll_B, weight_B = sums.pop("nll_B"), sums.pop("weight_B")
    sums["denominator"] = sums["weight"]
    if "task" in targets:
        is_task_KB = (targets["task"][None] == jnp.arange(len(data.tasks))[:, None]).astype(jnp.float32)
        sums["task_nll"], sums["task_weight"] = is_task_KB @ nll_B, is_task_KB @ weight_B
    if "encoder_tags" in batch:
        tagging = tagging_sums(model.heads.tagging(prediction.encoded.states_BSE), batch["encoder_tags"])
        sums = add_head(sums, tagging, "tagging", train.tagging_weight)
    if "contrastive_pairs" in batch:
        vectors_BMP, temperature = contrastive_vectors(model, prediction.encoded, data.pairs_in_row)
        contrastive = contrastive_loss(vectors_BMP, batch["contrastive_pairs"], temperature)
        sums = add_head(sums, contrastive, "contrastive", train.contrastive_weight)
    return sums["loss"], sums


def contrastive_vectors(
    model: Seq2Seq, encoded: Encoded, pairs_in_row: int
) -> tuple[Float[Array, "B M P"], Float[Array, ""]]:
    """Unit vectors of the pairs of each row, text and code in turn, and the temperature of their similarities."""
    embedding = model.heads.embedding
    return embedding(encoded, 2 * pairs_in_row), embedding.temperature()


def add_head(sums: Sums, head: Sums, name: str, weight: float) -> Sums:
    """``sums`` with a head's loss: one of its items costs ``weight`` target tokens."""
    loss = sums["loss"] + weight * head[f"{name}_nll"]
    return {**sums, **head, "loss": loss, "denominator": sums["denominator"] + weight * head[f"{name}_weight"]}
