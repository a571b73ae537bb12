"""Stacks of blocks: parameters on a leading layer axis, scanned or unrolled, of one kind of block or of several.

Kinds repeat in a pattern, such as five blocks with local attention and one with full, and a scan's step is one period
of it. Layers behind the last whole period are unrolled. Blocks whose parameters are alike are one stack, whatever is
done with them (``run``'s calls); others are stacked by kind, as ``kind_0``, ``kind_1`` ... (``MixedStack``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
from flax import nnx
from jaxtyping import Array, Key

from t2c_jax.config import ModelConfig
from t2c_jax.kernels.projections import PROJECTION
from t2c_jax.models.parameters import PARENT, label

Keys = Key[Array, " n"] | None
Stream = TypeVar("Stream")
MakeBlock = Callable[[nnx.Rngs], nnx.Module]
Call = Callable[[Any, Stream, Key[Array, ""] | None], Stream]


class MixedStack(nnx.Module):
    """Blocks of a repeating pattern: layer i is block i // p of kind i % p, of p kinds."""

    def __init__(self, pattern: Sequence[MakeBlock], layers: int, *, rngs: nnx.Rngs) -> None:
        if layers < len(pattern):
            raise ValueError(f"{layers} layers are less than one period of {len(pattern)} kinds of blocks")
        self.period = len(pattern)
        for kind, block in enumerate(pattern):
            own = tuple(range(kind, layers, self.period))
            setattr(
                self, f"kind_{kind}", label(_stacked(block, len(own), rngs), stack=PARENT, layers=own, depth=layers)
            )

    def kinds(self) -> tuple[Any, ...]:
        """Each kind's stacked blocks."""
        return tuple(getattr(self, f"kind_{kind}") for kind in range(self.period))


def stack(pattern: MakeBlock | Sequence[MakeBlock], layers: int, rngs: nnx.Rngs) -> Any:
    """``layers`` blocks as one module, every parameter with a leading layer axis.

    Args:
      pattern: makes a block; or several, which take turns from the bottom on.
      layers: of all kinds together.
      rngs: of the blocks' parameters.
    """
    if isinstance(pattern, Sequence):
        if len(pattern) > 1:
            return MixedStack(pattern, layers, rngs=rngs)
        (pattern,) = pattern
    return label(_stacked(pattern, layers, rngs), stack="", layers=tuple(range(layers)), depth=layers)


def _stacked(block: MakeBlock, layers: int, rngs: nnx.Rngs) -> Any:
    return jax.vmap(lambda key: block(nnx.Rngs(key)))(jax.random.split(rngs.params(), layers))


def unstack(blocks: Any, layers: int) -> list[Any]:
    """The single blocks of a stack; one split per parameter, whose gradient is one concatenation."""
    if isinstance(blocks, MixedStack):
        kinds = [unstack(kind, len(range(i, layers, blocks.period))) for i, kind in enumerate(blocks.kinds())]
        return [kinds[i % blocks.period][i // blocks.period] for i in range(layers)]
    leaves, structure = jax.tree.flatten(blocks)
    parts = [jax.lax.split(leaf, (1,) * layers, axis=0) for leaf in leaves]
    return [jax.tree.unflatten(structure, [part[i].squeeze(0) for part in parts]) for i in range(layers)]


def run(
    blocks: Any,
    stream: Stream,
    keys: Keys,
    layers: int,
    model: ModelConfig,
    call: Call[Stream] | Sequence[Call[Stream]],
) -> Stream:
    """The residual stream, or a tree that holds it, through all blocks: scanned or unrolled, with config.model.remat.

    Both ways have the same parameters and give the same numbers.

    Args:
      blocks: as ``stack`` makes them, or a tree of arrays with a leading layer axis.
      stream: what the first block gets.
      keys: one for each layer, or None.
      layers: how many.
      model: scan and remat.
      call: one block: ``(block, stream, key) -> stream``. Several take turns from the bottom on, over blocks whose
        parameters are alike.
    """
    calls = list(call) if isinstance(call, Sequence) else [call]
    if model.remat != "none":
        policy = jax.checkpoint_policies.save_only_these_names(PROJECTION) if model.remat == "dots" else None
        # A scan's body is its own computation, so common subexpressions cannot undo its rematerialisation.
        calls = [jax.checkpoint(call, policy=policy, prevent_cse=not model.scan) for call in calls]
    mixed = isinstance(blocks, MixedStack)
    period = blocks.period if mixed else len(calls)
    calls = [calls[i % len(calls)] for i in range(period)]
    periods, rest = divmod(layers, period)
    if not model.scan or periods < 2 <= period:
        if keys is None:
            calls = [jax.jit(call) for call in calls]  # so that blocks that are alike are traced once
        for i, block in enumerate(unstack(blocks, layers)):
            stream = calls[i % period](block, stream, None if keys is None else keys[i])
        return stream
    whole = periods * period
    kinds: Any
    if mixed:
        kinds = blocks.kinds()
        scanned = jax.tree.map(lambda leaf: leaf[:periods], kinds) if rest else kinds
    else:
        kinds = scanned = blocks
        if period > 1:
            scanned = jax.tree.map(lambda leaf: leaf[:whole].reshape(periods, period, *leaf.shape[1:]), blocks)
    scanned_keys = None if keys is None else keys[:whole].reshape(periods, period)

    def one_of(blocks: Any, i: int) -> Any:
        if mixed:
            return blocks[i]
        return blocks if period == 1 else jax.tree.map(lambda leaf: leaf[i], blocks)

    def one_period(stream: Stream, xs: tuple[Any, Any]) -> tuple[Stream, None]:
        for i, call in enumerate(calls):
            stream = call(one_of(xs[0], i), stream, None if xs[1] is None else xs[1][i])
        return stream, None

    stream, _ = jax.lax.scan(one_period, stream, (scanned, scanned_keys))
    for i, call in enumerate(calls[:rest]):
        last = jax.tree.map(lambda leaf: leaf[-1], kinds[i]) if mixed else one_of(blocks, whole + i)
        stream = call(last, stream, None if keys is None else keys[whole + i])
    return stream
