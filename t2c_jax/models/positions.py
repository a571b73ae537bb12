"""Positions of tokens: rotary embedding, and T5's learned relative bias."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from t2c_jax.models.parameters import parameter
from t2c_jax.models.transformer.config import Sizes, T5Config

Rotation = tuple[Float[Array, "B L 1 K/2"], Float[Array, "B L 1 K/2"]]


def rotation(positions_BL: Int[Array, "B L"], head_width: int, theta: float, scaling: float = 1.0) -> Rotation:
    """Cosines and sines of RoPE's angles for each position (Su et al. 2021, section 3.2.2), divided by ``scaling``."""
    half = head_width // 2
    frequencies = jnp.asarray(theta ** (-np.arange(half) / half) / scaling, jnp.float32)
    angles_BL1F = positions_BL[:, :, None, None].astype(jnp.float32) * frequencies[None, None, None, :]
    return jnp.cos(angles_BL1F), jnp.sin(angles_BL1F)


def rotation_of(sizes: Sizes, kind: str, positions_BL: Int[Array, "B L"]) -> Rotation | None:
    """The rotation of a kind of layers; None where positions are a bias."""
    if isinstance(sizes, T5Config):
        return None
    if kind == "local":
        return rotation(positions_BL, sizes.head_width, sizes.local_rope_theta or sizes.rope_theta)
    return rotation(positions_BL, sizes.head_width, sizes.rope_theta, sizes.rope_scaling)


def rotate(x_BLHK: Float[Array, "B L H K"], rotary: Rotation | None) -> Float[Array, "B L H K"]:
    """Rotates each pair (k, k + K/2) of a head by its position's angle, in float32; the identity without a rotation."""
    if rotary is None:
        return x_BLHK
    cos, sin = rotary
    first, second = jnp.split(x_BLHK.astype(jnp.float32), 2, axis=-1)
    rotated_BLHK = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated_BLHK.astype(x_BLHK.dtype)


def relative_bucket(
    distance: Int[Array, ...], *, bidirectional: bool, buckets: int, max_distance: int
) -> Int[Array, ...]:
    """T5's buckets of key position minus query position (Raffel et al. 2020, section 2.1).

    Half of the buckets hold one distance each, the others grow logarithmically up to ``max_distance``; going both
    ways, the sign halves the buckets first.
    """
    if bidirectional:
        buckets //= 2
        base = jnp.where(distance > 0, buckets, 0)
        distance = jnp.abs(distance)
    else:
        base = jnp.zeros_like(distance)
        distance = jnp.maximum(-distance, 0)
    exact = buckets // 2
    ratio = jnp.log(jnp.maximum(distance, 1).astype(jnp.float32) / exact) / np.log(max_distance / exact)
    wide = jnp.minimum(exact + (ratio * (buckets - exact)).astype(jnp.int32), buckets - 1)
    return base + jnp.where(distance < exact, distance, wide)


class RelativeBias(nnx.Module):
    """T5's learned bias on attention scores, shared by all blocks of a stack."""

    def __init__(self, config: T5Config, width: int, *, bidirectional: bool, rngs: nnx.Rngs) -> None:
        self.table = parameter(
            rngs,
            (config.relative_buckets, config.num_heads),
            ("relative_buckets", "heads"),
            nnx.initializers.normal(width**-0.5),
            "relative_bias",
        )
        self.bidirectional = bidirectional
        self.buckets, self.max_distance = config.relative_buckets, config.relative_max_distance

    def __call__(self, query_T: Int[Array, " T"], key_S: Int[Array, " S"]) -> Float[Array, "1 H T S"]:
        """The bias between row indices; within a segment they differ as the positions do, so packing needs no more."""
        bucket_TS = relative_bucket(
            key_S[None, :] - query_T[:, None],
            bidirectional=self.bidirectional,
            buckets=self.buckets,
            max_distance=self.max_distance,
        )
        return jnp.transpose(jnp.take(self.table[...], bucket_TS, axis=0), (2, 0, 1))[None]

    def of_steps(self, steps_BN: Int[Array, "B N"], slot_steps_BX: Int[Array, "B X"]) -> Float[Array, "B H N X"]:
        """The bias between the tokens of a decoder step and those in its cache."""
        bucket_BNX = relative_bucket(
            slot_steps_BX[:, None, :] - steps_BN[..., None],
            bidirectional=self.bidirectional,
            buckets=self.buckets,
            max_distance=self.max_distance,
        )
        return jnp.moveaxis(jnp.take(self.table[...], bucket_BNX, axis=0), -1, 1)
