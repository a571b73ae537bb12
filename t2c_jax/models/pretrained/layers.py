"""What BERT, GPT-2 and BART are made of: layers with biases, tables of tokens and positions, a mix of all layers.

Kernels, dropout, dtype and remat are the model's own, as everywhere.

Letters: B batch, S source or target, E the stack's width, H heads, K head width, F feed-forward, J layers and the
embedding.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from t2c_jax.config import ModelConfig
from t2c_jax.kernels.attention_mask import AttentionMask
from t2c_jax.kernels.projections import down_projection, up_projection
from t2c_jax.models.attention import attend
from t2c_jax.models.layers import ACTIVATIONS
from t2c_jax.models.parameters import label, parameter
from t2c_jax.models.pretrained.config import PretrainedEncoderConfig
from t2c_jax.models.stack import Call, Keys, run

_normal = nnx.initializers.normal(0.02)  # Devlin et al. 2019 and Radford et al. 2019 alike; an import replaces it
_zeros, _ones = nnx.initializers.zeros, nnx.initializers.ones


def table(rngs: nnx.Rngs, rows: int, axis: str, width: int) -> nnx.Param[Array]:
    """A table of ``rows`` vectors; ``axis`` is the logical name of its rows."""
    shape, names = (rows, width), (axis, "embed")
    if axis == "positions":
        return parameter(rngs, shape, names, _normal, "positions", extendable=0)
    return parameter(rngs, shape, names, _normal, "embedding")


class LayerNorm(nnx.Module):
    """Layer normalisation (Ba et al. 2016), in float32 whatever the compute dtype."""

    def __init__(self, width: int, epsilon: float, *, biased: bool = True, rngs: nnx.Rngs) -> None:
        self.scale = parameter(rngs, (width,), ("norm",), _ones, "scale")
        self.bias = parameter(rngs, (width,), ("norm",), _zeros, "bias") if biased else None
        self.epsilon = epsilon

    def __call__(self, x_BSE: Float[Array, "B S E"]) -> Float[Array, "B S E"]:
        """Rows of zero mean and unit variance, times the learned scale, plus the learned bias if it has one."""
        wide = x_BSE.astype(jnp.float32)
        wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
        inverse = jax.lax.rsqrt(jnp.mean(wide * wide, axis=-1, keepdims=True) + self.epsilon)
        y_BSE = wide * inverse * self.scale[None, None]
        return (y_BSE if self.bias is None else y_BSE + self.bias[None, None]).astype(x_BSE.dtype)


class BiasedAttention(nnx.Module):
    """Multi-head attention whose four projections have biases (Vaswani et al. 2017, section 3.2.2)."""

    def __init__(
        self, width: int, num_heads: int, kernel: str, source_width: int | None = None, *, rngs: nnx.Rngs
    ) -> None:
        """``kernel`` is config.model.attention; keys and values are of states ``source_width`` wide, if not E."""
        self.kernel = kernel
        inner, names = (num_heads, width // num_heads), ("embed", "heads", "head_width")
        for name in ("query", "key", "value"):
            read = width if name == "query" or source_width is None else source_width
            setattr(self, name, parameter(rngs, (read, *inner), names, _normal, adapted=True))
            setattr(self, f"{name}_bias", parameter(rngs, inner, names[1:], _zeros, "bias"))
        self.output = parameter(rngs, (width, *inner), names, _normal, adapted=True, output_first=True)
        self.output_bias = parameter(rngs, (width,), ("norm",), _zeros, "bias")

    def _project(self, x_BSE: Float[Array, "B S E"], name: str) -> Float[Array, "B S H K"]:
        kernel_EHK, bias_HK = getattr(self, name)[...], getattr(self, f"{name}_bias")[...]
        width, heads, head_width = kernel_EHK.shape
        h_BSF = up_projection(x_BSE, kernel_EHK.reshape(width, heads * head_width))
        return h_BSF.reshape(*x_BSE.shape[:2], heads, head_width) + bias_HK[None, None].astype(x_BSE.dtype)

    def keys_values(self, x_BSE: Float[Array, "B S E"]) -> tuple[Float[Array, "B S H K"], Float[Array, "B S H K"]]:
        """Keys and values of the states that are attended to."""
        return self._project(x_BSE, "key"), self._project(x_BSE, "value")

    def __call__(
        self, x_BTE: Float[Array, "B T E"], mask: AttentionMask, read_BSE: Float[Array, "B S E"] | None = None
    ) -> Float[Array, "B T E"]:
        """The block's update to the residual stream; attends to ``read_BSE``, by default to ``x_BTE`` itself."""
        q, (k, v) = self._project(x_BTE, "query"), self.keys_values(x_BTE if read_BSE is None else read_BSE)
        o_BTHK = attend(q, k, v, mask, kernel=self.kernel)
        joined = o_BTHK.shape[2] * o_BTHK.shape[3]
        y_BTE = down_projection(o_BTHK.reshape(*o_BTHK.shape[:2], joined), self.output[...].reshape(-1, joined))
        return y_BTE + self.output_bias[None, None].astype(y_BTE.dtype)


class BiasedFeedForward(nnx.Module):
    """Two projections with biases (Vaswani et al. 2017, equation 2), with the config's activation between them."""

    def __init__(self, width: int, hidden: int, activation: str, *, rngs: nnx.Rngs) -> None:
        shape, names = (width, hidden), ("embed", "mlp")
        self.up = parameter(rngs, shape, names, _normal)
        self.up_bias = parameter(rngs, shape[1:], names[1:], _zeros, "bias")
        self.down = parameter(rngs, shape, names, _normal, output_first=True)
        self.down_bias = parameter(rngs, (width,), ("norm",), _zeros, "bias")
        self.activation = activation

    def __call__(self, x_BSE: Float[Array, "B S E"]) -> Float[Array, "B S E"]:
        """The block's update to the residual stream."""
        h_BSF = up_projection(x_BSE, self.up[...]) + self.up_bias[None, None].astype(x_BSE.dtype)
        y_BSE = down_projection(ACTIVATIONS[self.activation](h_BSF), self.down[...])
        return y_BSE + self.down_bias[None, None].astype(y_BSE.dtype)


class LayerMix(nnx.Module):
    """scale x sum of s_j h_j over the embedding's output and all layers', s a softmax (Peters et al. 2018, eq. 1).

    It starts as their mean.
    """

    def __init__(self, layers: int, *, rngs: nnx.Rngs) -> None:
        self.weights = parameter(rngs, (layers + 1,), ("layers",), _zeros, "mix")
        self.scale = parameter(rngs, (), (), _ones, "mix")

    def shares(self) -> Float[Array, " J"]:
        """What each layer counts, the scale counted in; the embedding's output comes first."""
        return jax.nn.softmax(self.weights[...]) * self.scale[...]


def layer_mix(sizes: PretrainedEncoderConfig, *, rngs: nnx.Rngs) -> LayerMix | None:
    """The mix, where config.model.encoder.mix_layers asks for one."""
    return label(LayerMix(sizes.layers, rngs=rngs), is_part=True) if sizes.mix_layers else None


def through(
    blocks: Any,
    x_BSE: Float[Array, "B S E"],
    keys: Keys,
    layers: int,
    model: ModelConfig,
    mix: LayerMix | None,
    call: Call[jax.Array] | Sequence[Call[jax.Array]],
    finish: Callable[[Float[Array, "B S E"]], Float[Array, "B S E"]] = lambda x_BSE: x_BSE,
    before: Sequence[Float[Array, "B S E"]] = (),
) -> Float[Array, "B S E"]:
    """Embedded tokens through all blocks to the last one's output, or to the mix of all.

    ``call`` is as in ``run``. ``finish`` comes after a block's output where it leaves the stack: the final norm, where
    there is one. What came ``before`` the first of these blocks counts in the mix too.
    """
    if mix is None:
        return finish(run(blocks, x_BSE, keys, layers, model, call))
    shares_J = mix.shares()

    def counted(share: jax.Array, x_BSE: jax.Array) -> jax.Array:
        return share * finish(x_BSE).astype(jnp.float32)

    def mixed(
        call: Call[jax.Array],
        layer: tuple[Any, jax.Array],
        stream: tuple[jax.Array, jax.Array],
        key: Key[Array, ""] | None,
    ) -> tuple[jax.Array, jax.Array]:
        block, share = layer
        x_BSE = call(block, stream[0], key)
        return x_BSE, stream[1] + counted(share, x_BSE)

    calls = call if isinstance(call, Sequence) else [call]
    first = [*before, x_BSE]
    sum_BSE = sum(
        (counted(shares_J[i], states) for i, states in enumerate(first[1:], 1)), counted(shares_J[0], first[0])
    )
    layered = blocks, shares_J[len(first) :]
    _, sum_BSE = run(layered, (x_BSE, sum_BSE), keys, layers, model, [functools.partial(mixed, one) for one in calls])
    return sum_BSE.astype(x_BSE.dtype)
