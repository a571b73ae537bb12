"""The copying head: a mixture of writing a token and pointing at one in the source (See et al. 2017, section 2.2).

    P(y) = g P_vocabulary(y) + (1 - g) sum of a_s over source positions s that hold y

It works with any decoder over any encoder of tokens. Its attention a is its own, scaled dot products of decoder states
with encoder states, and independent of the attention within either. The source's tokens are pieces of the
vocabulary that falls back to bytes, so nothing is out of vocabulary and the mixture has the vocabulary's size.

A name is several pieces, and copying it means continuing in the source after the last copied piece. Recurrent states
hold what came before; a Transformer's have to learn it. So the score of a position is raised where the token
before it is the last one written, again where the two before it are the last two, and so on, each time by a number that
the decoder's state decides: high within a name, low at its end. Copying spans by pointing at the next position is
CopyNext (Singh et al. 2020); this is the idea without its hard choice.

Letters: B batch, S source, T target, D model, E encoder's width, V vocabulary, W beams, N tokens before.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from t2c_jax.config import ModelConfig
from t2c_jax.models.attention import MASKED
from t2c_jax.models.interface import RECENT, Encoded
from t2c_jax.models.layers import fan_in
from t2c_jax.models.parameters import parameter

# Compared are a piece, the space before it, which may stand anywhere, and the piece before that.
BEFORE = RECENT
_TINY = 1e-30  # a copy of what the source does not hold: log of it is finite, and outweighed by anything


class Copying(NamedTuple):
    """The copying head's part of the mixture, in float32.

    Attributes:
      log_generate_BT: log g.
      log_point_BT: log(1 - g).
      attention_BTS: a, a distribution over the source positions of the target's segment.
      tokens_BS: what each source position would be as a target token; 0 for none.
    """

    log_generate_BT: Float[Array, "B T"]
    log_point_BT: Float[Array, "B T"]
    attention_BTS: Float[Array, "B T S"]
    tokens_BS: Int[Array, "B S"]

    def log_copied(self, targets_BT: Int[Array, "B T"]) -> Float[Array, "B T"]:
        """Log-probability of copying each target, from wherever the source holds it."""
        holds_BTS = self.tokens_BS[:, None, :] == targets_BT[:, :, None]
        return self.log_point_BT + jnp.log(jnp.sum(self.attention_BTS * holds_BTS, axis=-1) + _TINY)

    def log_copied_source(self) -> Float[Array, "B T S"]:
        """Log-probability of copying the token at each source position, from wherever the source holds it."""
        same_BSS = self.tokens_BS[:, :, None] == self.tokens_BS[:, None, :]
        # In whole float32: it is compared with ``log_copied``, and accelerators round what they multiply.
        held_BTS = jnp.einsum("bts,bsr->btr", self.attention_BTS, same_BSS.astype(jnp.float32), precision="highest")
        return self.log_point_BT[..., None] + jnp.log(held_BTS + _TINY)


class CopySource(NamedTuple):
    """What the pointer needs of a source: made once, for all steps and beams.

    Attributes:
      keys_BSD: what decoder states are compared with.
      tokens_BS: what each position would be as a target token; 0 for none.
      before_BSN: those of the positions before it in its segment, the nearest first; 0 for none.
    """

    keys_BSD: Float[Array, "B S D"]
    tokens_BS: Int[Array, "B S"]
    before_BSN: Int[Array, "B S N"]


class Pointer(nnx.Module):
    """Attention over the source's positions, and the gate between writing and pointing."""

    def __init__(self, config: ModelConfig, encoder_width: int, *, rngs: nnx.Rngs) -> None:
        width = config.width
        self.query = parameter(rngs, (width, width), ("embed", "pointer"), fan_in(width), adapted=True)
        self.key = parameter(rngs, (encoder_width, width), ("embed", "pointer"), fan_in(encoder_width), adapted=True)
        self.follow = parameter(rngs, (width, BEFORE), ("embed", "pointer"), nnx.initializers.zeros)
        self.gate_state = parameter(rngs, (width,), ("embed",), fan_in(width))
        self.gate_input = parameter(rngs, (width,), ("embed",), fan_in(width))
        self.gate_context = parameter(rngs, (encoder_width,), ("embed",), fan_in(encoder_width))
        self.gate_bias = parameter(rngs, (1,), ("norm",), nnx.initializers.zeros, "bias")

    def read(self, encoded: Encoded, tokens_BS: Int[Array, "B S"]) -> CopySource:
        """What the source's tokens and their encoded states are to the pointer."""
        keys_BSD = jnp.einsum("bse,ed->bsd", encoded.states_BSE, self.key[...].astype(encoded.states_BSE.dtype))
        return CopySource(keys_BSD, tokens_BS, _back(tokens_BS, encoded.segments_BS, range(1, BEFORE + 1)))

    def __call__(
        self,
        states_BTD: Float[Array, "B T D"],
        inputs_BTD: Float[Array, "B T D"],
        tokens_BT: Int[Array, "B T"],
        segments_BT: Int[Array, "B T"],
        encoded: Encoded,
        tokens_BS: Int[Array, "B S"],
    ) -> Copying:
        """The mixture's part at every position under teacher forcing; ``tokens_BT`` are what the decoder is fed."""
        last_BTN = _back(tokens_BT, segments_BT, range(BEFORE))
        visible_BTS = segments_BT[:, :, None] == encoded.segments_BS[:, None, :]
        return self._mix(states_BTD, inputs_BTD, last_BTN, visible_BTS, encoded, self.read(encoded, tokens_BS))

    def step(
        self,
        states_BWD: Float[Array, "B W D"],
        inputs_BWD: Float[Array, "B W D"],
        last_BWN: Int[Array, "B W N"],
        logits_BWV: Float[Array, "B W V"],
        encoded: Encoded,
        source: CopySource,
    ) -> Float[Array, "B W V"]:
        """Log-probabilities of the mixture over the whole vocabulary, one token for each beam.

        ``last_BWN`` are the tokens that each beam was fed, the latest first; 0 before the first.
        """
        visible_BWS = jnp.broadcast_to(
            (encoded.segments_BS > 0)[:, None], (*last_BWN.shape[:2], source.tokens_BS.shape[1])
        )
        copying = self._mix(states_BWD, inputs_BWD, last_BWN, visible_BWS, encoded, source)
        pointed_BWS = jnp.exp(copying.log_point_BT)[..., None] * copying.attention_BTS
        written_BWV = jnp.exp(jax.nn.log_softmax(logits_BWV, axis=-1) + copying.log_generate_BT[..., None])
        rows_B = jnp.arange(last_BWN.shape[0])
        # One scatter a prompt: its source tokens are the same for all of its beams.
        added_BVW = (
            jnp.swapaxes(written_BWV, 1, 2).at[rows_B[:, None], source.tokens_BS].add(jnp.swapaxes(pointed_BWS, 1, 2))
        )
        return jnp.log(jnp.swapaxes(added_BVW, 1, 2) + _TINY)

    def _mix(
        self,
        states_BTD: Float[Array, "B T D"],
        inputs_BTD: Float[Array, "B T D"],
        last_BTN: Int[Array, "B T N"],
        visible_BTS: Bool[Array, "B T S"],
        encoded: Encoded,
        source: CopySource,
    ) -> Copying:
        dtype, width = states_BTD.dtype, states_BTD.shape[-1]
        q_BTD = jnp.einsum("btd,df->btf", states_BTD, self.query[...].astype(dtype)) * width**-0.5
        scores_BTS = jnp.einsum("btd,bsd->bts", q_BTD, source.keys_BSD, preferred_element_type=jnp.float32)
        follow = self.follow[...].astype(dtype)
        follow_BTN = jnp.einsum("btd,dn->btn", states_BTD, follow, preferred_element_type=jnp.float32)
        same_BTS: Bool[Array, "B T S"] = jnp.array(True)
        for n in range(BEFORE):
            before_B1S = source.before_BSN[:, None, :, n]
            same_BTS &= (before_B1S == last_BTN[:, :, None, n]) & (before_B1S > 0)
            scores_BTS += jnp.where(same_BTS, follow_BTN[..., n, None], 0)
        attention_BTS = jax.nn.softmax(jnp.where(visible_BTS, scores_BTS, MASKED), axis=-1)
        context_BTE = jnp.einsum("bts,bse->bte", attention_BTS.astype(dtype), encoded.states_BSE)
        gate_BT = self.gate_bias[...][None] + sum(
            jnp.einsum("btd,d->bt", x, kernel[...].astype(dtype), preferred_element_type=jnp.float32)
            for x, kernel in (
                (states_BTD, self.gate_state),
                (inputs_BTD, self.gate_input),
                (context_BTE, self.gate_context),
            )
        )
        return Copying(jax.nn.log_sigmoid(gate_BT), jax.nn.log_sigmoid(-gate_BT), attention_BTS, source.tokens_BS)


def _back(tokens_BT: Int[Array, "B T"], segments_BT: Int[Array, "B T"], distances: range) -> Int[Array, "B T N"]:
    """The tokens so far back in the same segment; 0 where it begins later."""
    back = []
    for distance in distances:
        tokens, segments = (jnp.pad(x, ((0, 0), (distance, 0)))[:, : x.shape[1]] for x in (tokens_BT, segments_BT))
        back.append(jnp.where(segments == segments_BT, tokens, 0))
    return jnp.stack(back, axis=-1)
