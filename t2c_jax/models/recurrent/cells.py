"""Recurrent layers: LSTM and GRU cells, a layer over packed rows, and attention over the source.

A layer's input projections are one product over all positions; what is left for the scan is the product with the
state. A row's states start anew at every segment, so packed pairs never see each other. States are float32 whatever
the compute dtype.

Letters: B batch, L length, T target, S source, I input width, H hidden units, G gates, P parts of a state (h, or h and
c), E encoder's width, A width of additive attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from t2c_jax.kernels.deferred_scan import Apply, scan_with_deferred_gradients
from t2c_jax.models.attention import MASKED
from t2c_jax.models.layers import fan_in
from t2c_jax.models.parameters import parameter

State = tuple[Float[Array, "B H"], ...]  # (h, c) of an LSTM, (h,) of a GRU


class LSTM:
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gates (Gers et al. 2000)."""

    gates, parts = 4, 2

    @staticmethod
    def next(x_BGH: Float[Array, "B G H"], h_BGH: Float[Array, "B G H"], state: State) -> State:
        """The state after a step, from the two products that go into it."""
        enter_BH, keep_BH, value_BH, show_BH = (part[..., 0, :] for part in jnp.split(x_BGH + h_BGH, 4, axis=-2))
        c_BH = jax.nn.sigmoid(keep_BH) * state[1] + jax.nn.sigmoid(enter_BH) * jnp.tanh(value_BH)
        return jax.nn.sigmoid(show_BH) * jnp.tanh(c_BH), c_BH


class GRU:
    """Gated recurrent unit (Cho et al. 2014), the reset after the product, as cuDNN computes it."""

    gates, parts = 3, 1

    @staticmethod
    def next(x_BGH: Float[Array, "B G H"], h_BGH: Float[Array, "B G H"], state: State) -> State:
        """The state after a step, from the two products that go into it."""
        x_reset, x_update, x_value = (part[..., 0, :] for part in jnp.split(x_BGH, 3, axis=-2))
        h_reset, h_update, h_value = (part[..., 0, :] for part in jnp.split(h_BGH, 3, axis=-2))
        update_BH = jax.nn.sigmoid(x_update + h_update)
        value_BH = jnp.tanh(x_value + jax.nn.sigmoid(x_reset + h_reset) * h_value)
        return ((1 - update_BH) * value_BH + update_BH * state[0],)


Cell = type[LSTM] | type[GRU]
RECURRENCE = "bh,hgk->bgk"


def initial_bias(cell: Cell, hidden: int) -> Float[Array, "G H"]:
    """Zeros; the LSTM's forget gate starts open (Jozefowicz et al. 2015, section 2.2)."""
    bias_GH = jnp.zeros((cell.gates, hidden), jnp.float32)
    return bias_GH.at[1].set(1.0) if cell is LSTM else bias_GH


class Layer(nnx.Module):
    """One recurrent layer in one direction."""

    def __init__(self, cell: Cell, input_width: int, hidden: int, *, rngs: nnx.Rngs) -> None:
        self.cell, self.hidden = cell, hidden
        names = ("embed", "gates", "recurrent")
        self.input = parameter(rngs, (input_width, cell.gates, hidden), names, fan_in(input_width), adapted=True)
        axes = ("state", "gates", "recurrent")
        self.state = parameter(rngs, (hidden, cell.gates, hidden), axes, fan_in(hidden), adapted=True)
        self.bias = parameter(rngs, (cell.gates, hidden), names[1:], lambda *_: initial_bias(cell, hidden), "bias")

    def project(self, x_BLI: Float[Array, "B L I"]) -> Float[Array, "B L G H"]:
        """The input's part of the gates, float32."""
        kernel_IGH = self.input[...].astype(x_BLI.dtype)
        gates = jnp.einsum("bli,igh->blgh", x_BLI, kernel_IGH, preferred_element_type=jnp.float32)
        return gates + self.bias[...][None, None]

    def __call__(
        self,
        x_BLI: Float[Array, "B L I"],
        starts_BL: Bool[Array, "B L"],
        initial: Sequence[Float[Array, "B L H"]] | None = None,
        *,
        reverse: bool = False,
    ) -> tuple[Float[Array, "B L H"], ...]:
        """The state's parts at every position, each (B, L, H) in float32.

        Args:
          x_BLI: inputs.
          starts_BL: where a segment's first step is: its last position when going backwards.
          initial: the parts of the state that a segment starts from, read where it starts; zeros by default.
          reverse: from the row's end to its beginning.
        """
        gates_LBGH = jnp.swapaxes(self.project(x_BLI), 0, 1)
        starts_LB1 = jnp.swapaxes(starts_BL, 0, 1)[..., None].astype(jnp.float32)
        empty = tuple(jnp.zeros((x_BLI.shape[0], self.hidden)) for _ in range(self.cell.parts))
        begin = None if initial is None else tuple(jnp.swapaxes(part, 0, 1) for part in initial)
        step = _LayerStep(self.cell, x_BLI.dtype.name)
        weights = {"state": self.state[...]}
        xs = (gates_LBGH, starts_LB1, begin)
        _, states = scan_with_deferred_gradients(step, {"state": RECURRENCE}, weights, None, empty, xs, reverse=reverse)
        return tuple(jnp.swapaxes(part, 0, 1) for part in states)


@dataclass(frozen=True)
class _LayerStep:
    """A step of ``Layer``."""

    cell: Cell
    dtype: str

    def __call__(
        self, apply: Apply, shared: None, carry: State, x: tuple[Array, Array, State | None]
    ) -> tuple[State, State]:
        gates_BGH, start_B1, begin = x
        carry = segment_start(carry, start_B1, begin)
        state = self.cell.next(gates_BGH, apply("state", carry[0].astype(self.dtype)), carry)
        return state, state


def segment_start(state: State, start_B1: Float[Array, "B 1"], begin: State | None) -> State:
    """The state that a step starts from: where a segment starts, the given one or zeros."""
    if begin is None:
        return tuple(part * (1 - start_B1) for part in state)
    return tuple(jnp.where(start_B1 > 0, fresh, part) for part, fresh in zip(state, begin, strict=True))


Kind = Literal["none", "additive", "multiplicative"]


class SourceAttention(nnx.Module):
    """A recurrent decoder's attention over the source, and the attentional state computed from it.

    Scores are ``h W m`` (Luong et al. 2015, equation 8, general) or ``v tanh(W h + U m)`` (Bahdanau et al. 2015,
    appendix A.1.2); the attentional state is ``tanh(W_c [context; h])`` (Luong et al. 2015, equation 5).
    """

    def __init__(self, kind: Kind, hidden: int, encoder_width: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.kind = kind
        compared = encoder_width if kind == "multiplicative" else hidden
        self.query = parameter(rngs, (hidden, compared), ("state", "recurrent"), fan_in(hidden), adapted=True)
        if kind == "additive":
            names = ("embed", "recurrent")
            self.key = parameter(rngs, (encoder_width, compared), names, fan_in(encoder_width), adapted=True)
            self.score = parameter(rngs, (compared,), ("recurrent",), fan_in(compared))
        self.from_state = parameter(rngs, (hidden, width), ("state", "embed"), fan_in(2 * hidden))
        self.from_context = parameter(rngs, (encoder_width, width), ("embed", "norm"), fan_in(2 * encoder_width))

    def keys(self, memory_BSE: Float[Array, "B S E"]) -> Float[Array, "B S A"]:
        """What states are compared with: computed once a source."""
        if self.kind == "multiplicative":
            return memory_BSE * memory_BSE.shape[-1] ** -0.5
        key_EA = self.key[...].astype(memory_BSE.dtype)
        return jnp.einsum("bse,ea->bsa", memory_BSE, key_EA, preferred_element_type=jnp.float32)


def attention_specs(kind: Kind) -> dict[str, str]:
    """The products of ``attentional``, for ``scan_with_deferred_gradients``."""
    specs = {"query": "bh,ha->ba", "memory": "bs,bse->be", "from_state": "bh,hd->bd", "from_context": "be,ed->bd"}
    return {**specs, "keys": "ba,bsa->bs"} if kind == "multiplicative" else specs


def attentional(
    kind: Kind,
    apply: Apply,
    shared: tuple[Float[Array, "B S A"], Float[Array, " A"]] | None,
    h_BH: Float[Array, "B H"],
    visible_BS: Bool[Array, "B S"],
) -> Float[Array, "B D"]:
    """The attentional state of one step, float32; ``shared`` is additive attention's keys and score."""
    q_BA = apply("query", h_BH)
    if kind == "multiplicative":
        scores_BS = apply("keys", q_BA.astype(h_BH.dtype))
    else:
        assert shared is not None
        keys_BSA, score_A = shared
        scores_BS = jnp.einsum("bsa,a->bs", jnp.tanh(keys_BSA + q_BA[:, None]), score_A)
    weights_BS = jax.nn.softmax(jnp.where(visible_BS, scores_BS, MASKED), axis=-1)
    context_BE = apply("memory", weights_BS.astype(h_BH.dtype))
    return jnp.tanh(apply("from_state", h_BH) + apply("from_context", context_BE.astype(h_BH.dtype)))
