"""code2seq's encoder: each path of a syntax tree to a vector (Alon et al. 2019, section 3.2).

Letters: B batch, K paths (what other encoders call S), M nodes of a path, N tokens of a terminal, D model, E encoder's
width, H hidden units in one direction, G gates, V node ids, I two vectors side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from t2c_jax.config import ModelConfig
from t2c_jax.kernels.deferred_scan import Apply, scan_with_deferred_gradients
from t2c_jax.mesh import constrain
from t2c_jax.models.interface import Batch, Embed, Encoded, Summary
from t2c_jax.models.layers import dropout, fan_in
from t2c_jax.models.parameters import parameter
from t2c_jax.models.recurrent.cells import LSTM, Layer, State
from t2c_jax.papers.code2seq.config import PathsConfig
from t2c_jax.papers.code2seq.syntax_paths import NODE_IDS

_RECURRENCE = "bph,hgk->bpgk"


class PathEncoder(nnx.Module):
    """``tanh(W [LSTM(nodes); start; end])`` of each path; their mean is the summary.

    A path's nodes are read in both directions, and the two last states are concatenated. A terminal is the sum of its
    tokens' vectors. Dropout comes before W.
    """

    def __init__(self, sizes: PathsConfig, model: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.rate = model.dropout
        self.width = self.summary_width = model.width
        width, units = model.width, sizes.width
        self.nodes = parameter(
            rngs, (NODE_IDS, width), ("path_nodes", "embed"), nnx.initializers.normal(1.0), "embedding"
        )
        self.forward, self.backward = (Layer(LSTM, width, units, rngs=rngs) for _ in range(2))
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
        nodes_VD = self.nodes[...].astype(dtype)
        ways = [
            _last_state(self.forward, nodes_VD, nodes_BKM, reverse=False),
            _last_state(self.backward, nodes_VD, nodes_BKM, reverse=True),
        ]
        keys = (None, None) if key is None else jax.random.split(key)
        path_BKI = dropout(jnp.concatenate(ways, axis=-1), self.rate, keys[0])
        ends_BKI = dropout(jnp.concatenate(ends, axis=-1), self.rate, keys[1])
        z_BKE = jnp.einsum("bki,ie->bke", path_BKI, self.path_kernel[...].astype(dtype))
        z_BKE += jnp.einsum("bki,ie->bke", ends_BKI, self.terminal_kernel[...].astype(dtype))
        states_BKE = constrain(jnp.tanh(z_BKE), "batch", None, "activation")
        return Encoded(states_BKE, batch["encoder_segment_ids"], (Summary("mean", states_BKE),))


def _terminal(tokens_BKN: Int[Array, "B K N"], embed: Embed) -> Float[Array, "B K D"]:
    vectors_BKND = embed(tokens_BKN)
    return jnp.sum(jnp.where(tokens_BKN[..., None] > 0, vectors_BKND, 0), axis=2)


def _last_state(
    layer: Layer, nodes_VD: Float[Array, "V D"], nodes_BKM: Int[Array, "B K M"], *, reverse: bool
) -> Float[Array, "B K H"]:
    """Where an LSTM ends that reads each path's nodes in one direction.

    There are a few hundred nodes and thousands of occurrences in a batch: the input is projected once a node, and
    looked up.
    """
    gates_VGH = layer.project(nodes_VD[None])[0]
    nodes_MBK = jnp.moveaxis(nodes_BKM, -1, 0)
    there_MBK1 = (nodes_MBK[..., None] > 0).astype(jnp.float32)
    zero_BKH = constrain(jnp.zeros((*nodes_BKM.shape[:2], layer.hidden)), "batch", None, "activation")
    xs = (jnp.take(gates_VGH, nodes_MBK, axis=0), there_MBK1)
    weights, step = {"state": layer.state[...]}, _MaskedStep(nodes_VD.dtype.name)
    (h_BKH, _), _ = scan_with_deferred_gradients(
        step, {"state": _RECURRENCE}, weights, None, (zero_BKH,) * 2, xs, reverse=reverse
    )
    return h_BKH.astype(nodes_VD.dtype)


@dataclass(frozen=True)
class _MaskedStep:
    """A step of an LSTM that padding leaves as it is."""

    dtype: str

    def __call__(self, apply: Apply, shared: None, carry: State, x: tuple[Array, Array]) -> tuple[State, None]:
        gates_BKGH, there_BK1 = x
        after = LSTM.next(gates_BKGH, apply("state", carry[0].astype(self.dtype)), carry)
        return tuple(jnp.where(there_BK1 > 0, new, old) for new, old in zip(after, carry, strict=True)), None
