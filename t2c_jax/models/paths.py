"""code2seq's encoder: each path of a syntax tree to a vector (Alon et al. 2019, section 3.2).

Letters: B batch, K paths (what other encoders call S), M nodes of a path, N tokens of a terminal, D model, E encoder's
width, U hidden units in one direction, G gates (4 U), V node ids.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from t2c_jax.config import ModelConfig
from t2c_jax.data.paths import NODE_IDS
from t2c_jax.mesh import constrain
from t2c_jax.models.interface import Batch, Embed, Encoded, Summary
from t2c_jax.models.layers import dropout, fan_in, parameter


class PathEncoder(nnx.Module):
    """``tanh(W [LSTM(nodes); start; end])`` of each path; their mean is the summary.

    A path's nodes are read in both directions, and the two last states stand side by side. A terminal is the sum of its
    tokens' vectors. Dropout comes before W.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.width = self.summary_width = config.width
        width, units = config.width, config.recurrent.width
        self.nodes = parameter(rngs, (NODE_IDS, width), ("path_nodes", "embed"), nnx.initializers.normal(1.0))
        self.forward = PathLSTM(width, units, reverse=False, rngs=rngs)
        self.backward = PathLSTM(width, units, reverse=True, rngs=rngs)
        joined = 2 * units + 2 * width
        self.path_kernel = parameter(rngs, (2 * units, width), ("state", "embed"), fan_in(joined))
        self.terminal_kernel = parameter(rngs, (2 * width, width), ("state", "embed"), fan_in(joined))

    def __call__(self, batch: Batch, embed: Embed, key: Key[Array, ""] | None = None) -> Encoded:
        """A vector for each path; no path sees another. Where there is none, it is zero.

        Args:
          batch: ``path_start_tokens``, ``path_nodes``, ``path_end_tokens`` and ``encoder_segment_ids``.
          embed: vectors of the terminals' tokens.
          key: turns dropout on.
        """
        nodes_BKM = batch["path_nodes"]
        ends = [_terminal(batch[f"path_{end}_tokens"], embed) for end in ("start", "end")]
        dtype = ends[0].dtype
        path_BKU = [lstm(self.nodes[...].astype(dtype), nodes_BKM) for lstm in (self.forward, self.backward)]
        keys = (None, None) if key is None else jax.random.split(key)
        x_BKU = dropout(jnp.concatenate(path_BKU, axis=-1), self.config.dropout, keys[0])
        x_BKD = dropout(jnp.concatenate(ends, axis=-1), self.config.dropout, keys[1])
        z_BKE = jnp.einsum("bku,ue->bke", x_BKU, self.path_kernel[...].astype(dtype))
        z_BKE += jnp.einsum("bkd,de->bke", x_BKD, self.terminal_kernel[...].astype(dtype))
        states_BKE = constrain(jnp.tanh(z_BKE), "batch", "length", "activation")
        return Encoded(states_BKE, batch["encoder_segment_ids"], (Summary("mean", states_BKE),))


def _terminal(tokens_BKN: Int[Array, "B K N"], embed: Embed) -> Float[Array, "B K D"]:
    vectors_BKND = embed(tokens_BKN)
    return jnp.sum(jnp.where(tokens_BKN[..., None] > 0, vectors_BKND, 0), axis=2)


class PathLSTM(nnx.Module):
    """The last state of an LSTM (Gers et al. 2000) over each path's nodes, in one direction.

    There are a few hundred nodes and thousands of places where they stand, so the input's projection is made once for
    each node, and looked up.
    """

    def __init__(self, width: int, units: int, *, reverse: bool, rngs: nnx.Rngs) -> None:
        self.units, self.reverse = units, reverse
        self.input = parameter(rngs, (width, 4 * units), ("embed", "recurrent"), fan_in(width))
        self.recurrent = parameter(rngs, (units, 4 * units), ("state", "recurrent"), nnx.initializers.orthogonal())
        self.bias = parameter(rngs, (4 * units,), ("recurrent",), _open_forget_gates)

    def __call__(self, nodes_VD: Float[Array, "V D"], nodes_BKM: Int[Array, "B K M"]) -> Float[Array, "B K U"]:
        """Padding (0) leaves the state as it is: that of a path without nodes is zero."""
        dtype = nodes_VD.dtype
        gates_VG = nodes_VD @ self.input[...].astype(dtype) + self.bias[...].astype(dtype)[None]
        recurrent_UG = self.recurrent[...].astype(dtype)

        def step(carry: tuple[Array, Array], nodes_BK: Array) -> tuple[tuple[Array, Array], None]:
            hidden_BKU, cell_BKU = carry
            gates_BKG = jnp.take(gates_VG, nodes_BK, axis=0) + jnp.einsum("bku,ug->bkg", hidden_BKU, recurrent_UG)
            write, forget, read, value = jnp.split(gates_BKG, 4, axis=-1)
            cell = jax.nn.sigmoid(forget) * cell_BKU + jax.nn.sigmoid(write) * jnp.tanh(value)
            hidden = jax.nn.sigmoid(read) * jnp.tanh(cell)
            there = nodes_BK[..., None] > 0
            return (jnp.where(there, hidden, hidden_BKU), jnp.where(there, cell, cell_BKU)), None

        zero_BKU = jnp.zeros((*nodes_BKM.shape[:2], self.units), dtype)
        zero_BKU = constrain(zero_BKU, "batch", "length", "activation")
        (hidden_BKU, _), _ = jax.lax.scan(
            step, (zero_BKU, zero_BKU), jnp.moveaxis(nodes_BKM, -1, 0), reverse=self.reverse
        )
        return hidden_BKU


def _open_forget_gates(key: Key[Array, ""], shape: tuple[int, ...], dtype: jnp.dtype) -> Float[Array, " G"]:
    """Forget gates start open (Jozefowicz et al. 2015, section 5): their bias is 1, the others' 0."""
    units = shape[0] // 4
    return jnp.zeros(shape, dtype).at[units : 2 * units].set(1.0)
