"""The compiled functions of a search: reading sources, laying out parameters, and steps of rows.

Letters: B rows, S source, W beams, T steps, X cache slots.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from t2c_jax import mesh as meshes
from t2c_jax.config import DecodeConfig
from t2c_jax.decode import live_rows
from t2c_jax.decode import slots as continuous
from t2c_jax.decode.drafts import NgramTable
from t2c_jax.decode.grammar_filter import GrammarFilter
from t2c_jax.decode.live_rows import Advanced, Limit
from t2c_jax.decode.logits_processors import LogitsProcessor
from t2c_jax.decode.search import Hypotheses, Requests, Search, SearchState, Shape, ensemble, requests, search
from t2c_jax.decode.settings import requests_of, shape_of
from t2c_jax.decode.slots import Pool, Results, Slots, Waiting
from t2c_jax.models.adapted import AdaptedSteps, LaidOut, bound, whole
from t2c_jax.models.definition import Definition
from t2c_jax.models.seq2seq import Steps, copied_tokens

T = TypeVar("T")


class SourceReader:
    """The compiled function that reads sources: of the models, not of their parameters, and the same for any search."""

    def __init__(self, definitions: Sequence[Definition], mesh: Mesh) -> None:
        """Compiles nothing yet.

        Args:
          definitions: of the models.
          mesh: the devices.
        """
        self._definitions, self._mesh = definitions, mesh
        self._lengths: dict[Any, int] = {}
        self.read = jax.jit(self._read, static_argnames="length")

    def _read(self, params: Sequence[Any], batch: Mapping[str, jax.Array], length: int) -> Pool:
        models = [bound(definition, each) for definition, each in zip(self._definitions, params, strict=True)]
        memory, carry = zip(*(model.read(batch, length=length) for model in models), strict=True)
        source_BS = None
        if all(definition.config.encoder.features == "tokens" for definition in self._definitions):
            tokens_BS = copied_tokens(batch)
            source_BS = jnp.pad(tokens_BS, ((0, 0), (0, length - tokens_BS.shape[1])))
        return _placed(Pool(list(memory), list(carry), source_BS), self._mesh)

    def length(self, params: Sequence[Any], batch: Mapping[str, Any]) -> int:
        """Positions of the encoder's states for a batch."""
        shapes = tuple(sorted((name, values.shape) for name, values in batch.items()))
        if shapes not in self._lengths:
            first = self._definitions[0]
            segments = jax.eval_shape(lambda p, b: bound(first, p).encode(b).segments_BS, params[0], batch)
            self._lengths[shapes] = int(segments.shape[1])
        return self._lengths[shapes]


class Programs:
    """The compiled functions of a search: of its settings and of the models, not of their parameters."""

    def __init__(
        self,
        definitions: Sequence[Definition],
        reader: SourceReader,
        shape: Shape,
        processors: Sequence[LogitsProcessor],
        stop: Sequence[str],
        grammar: GrammarFilter | None,
        mesh: Mesh,
        memory: int | None,
        table: NgramTable | None = None,
    ) -> None:
        """Compiles nothing yet.

        Args:
          definitions: of the models.
          reader: of the same models.
          shape: of the search.
          processors: change the logits, in this order.
          stop: stop strings, whose automaton has the size of all that are asked for.
          grammar: forbids tokens; None where answers follow no grammar.
          mesh: the devices.
          memory: bytes of a device, half of which gathered parameters may take; None where a device has none of its
            own.
          table: of the training targets, for drafts.
        """
        self.shape, self._definitions, self._processors, self._mesh = shape, definitions, tuple(processors), mesh
        self.reader = reader
        self._stop, self.grammar = tuple(stop), grammar
        self._share = None if memory is None else memory // 2 // len(definitions)
        self._replicated = meshes.replicated(mesh)
        self.table = None if table is None else jax.device_put(table, self._replicated)
        self._calls = threading.Lock()
        self.steps = jax.jit(self._steps)
        self.blank = jax.jit(self._blank, static_argnames="rows")
        self.run = jax.jit(self._run, donate_argnames="slots")
        self.admit = jax.jit(self._admit, donate_argnames="rows")
        self.advance = jax.jit(self._advance, donate_argnames="rows")
        self.resize = jax.jit(self._resize)

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """One of the functions, of one thread after the other: so each is compiled once. It may run on."""
        with self._calls:
            return function(*args, **kwargs)

    def _steps(self, params: Sequence[Any]) -> list[Steps]:
        return [self._laid_out(definition, each) for definition, each in zip(self._definitions, params, strict=True)]

    def _laid_out(self, definition: Definition, params: Any) -> Steps:
        return definition.bind(_all_gather_params(definition, whole(params), self._share)).steps()

    def _searching(self, models: Sequence[LaidOut], table: NgramTable | None = None) -> Search:
        steps = [model.step for model in self._traced(models)]
        return Search(ensemble(steps), self.shape, self._processors, self.grammar, table)

    def _traced(self, models: Sequence[LaidOut]) -> list[Steps]:
        return [
            model.steps(functools.partial(self._laid_out, definition)) if isinstance(model, AdaptedSteps) else model
            for definition, model in zip(self._definitions, models, strict=True)
        ]

    def _blank(self, models: Sequence[LaidOut], pool: Pool, rows: int) -> Slots:
        """Rows that are all free; each row's memory and carry have the shapes of the pool's."""
        slots, models = self.shape.slots, self._traced(models)
        cache = [model.cache(rows, slots) for model in models]
        memory, carry, source = jax.tree.map(lambda leaf: jnp.zeros((rows, *leaf.shape[1:]), leaf.dtype), pool)
        made = self._searching(models).rows(
            memory, carry, requests(rows, self.shape.steps, stop=self._stop), cache, slots, source=source, active=False
        )
        return _placed(Slots(made, jnp.full((rows,), -1, jnp.int32)), self._mesh)

    def _run(
        self,
        models: Sequence[LaidOut],
        slots: Slots,
        pool: Pool,
        waiting: Waiting,
        more: jax.Array,
        table: NgramTable | None,
    ) -> tuple[Slots, Results]:
        slots, results = continuous.run(self._searching(models, table), slots, pool, waiting, more)
        # Every process gets all answers.
        results = jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, self._replicated), results)
        return _placed(slots, self._mesh), results

    def _admit(
        self, rows: SearchState, pool: Pool, source: jax.Array, request: Requests, row: jax.Array
    ) -> SearchState:
        search = Search(ensemble([]), self.shape, self._processors, self.grammar)  # which takes no step here
        return _placed(live_rows.admit(search, rows, pool, source, request, row), self._mesh)

    def _advance(
        self, models: Sequence[LaidOut], rows: SearchState, kept: jax.Array, limit: Limit, table: NgramTable | None
    ) -> tuple[SearchState, Advanced]:
        rows, advanced = live_rows.advance(self._searching(models, table), rows, kept, limit)
        advanced = jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, self._replicated), advanced)
        return _placed(rows, self._mesh), advanced

    def _resize(self, rows: SearchState, row: jax.Array) -> SearchState:
        return _placed(live_rows.resized(rows, row), self._mesh)


def _placed(tree: T, mesh: Mesh) -> T:
    """Rows over ``data`` and ``fsdp``; of keys and values, the arrays of four axes, heads over ``tensor``."""

    def place(leaf: jax.Array) -> jax.Array:
        names = ("batch", "heads") if leaf.ndim == 4 else ("batch",)
        leaf = jax.lax.convert_element_type(leaf, leaf.dtype)  # as a loop gives them back: without weak types
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, meshes.partition_spec(names)))

    placed: T = jax.tree.map(place, tree)
    return placed


def search_function(
    definitions: Sequence[Definition],
    decode: DecodeConfig,
    processors: Sequence[LogitsProcessor] = (),
    *,
    start: int = 0,
    eos: int = 1,
    memory: int | None = None,
) -> Callable[..., Hypotheses]:
    """The search as a function of (each model's parameters, the encoder's part of a batch), to be jitted.

    Args:
      definitions: of the models.
      decode: the settings of the search.
      processors: change the logits, in this order.
      start, eos: the tokens that a sequence begins and ends with.
      memory: bytes of a device, half of which gathered parameters may take; None where a device has none of its own.
    """

    def searched(params: Sequence[Any], batch: Mapping[str, jax.Array]) -> Hypotheses:
        share = None if memory is None else memory // 2 // len(definitions)
        rows = next(iter(batch.values())).shape[0]
        models = [
            definition.bind(_all_gather_params(definition, each, share))
            for definition, each in zip(definitions, params, strict=True)
        ]
        read = [model.read(batch) for model in models]
        laid_out = [model.steps() for model in models]
        steps = ensemble([each.step for each in laid_out])

        def cache(rows: int, slots: int) -> list[Any]:
            return [each.cache(rows, slots) for each in laid_out]

        shape, asked = shape_of(decode, start, eos), requests_of(decode, np.zeros((rows, 2), np.uint32), 0)
        memories, carries = [each for each, _ in read], [each for _, each in read]
        return search(steps, memories, carries, cache, rows, shape, processors, asked)

    return searched


def _all_gather_params(definition: Definition, params: Any, limit: int | None) -> Any:
    """The parameters, with those that every step reads gathered over ``fsdp`` if they take at most ``limit`` bytes.

    Otherwise each step of the search would gather them again to compute one token a row.
    """
    every_step = {name: part for name, part in params.items() if name != "encoder"}
    names = definition.axis_names()
    names = {name: names[name] for name in every_step}
    if limit is not None and meshes.gathered_bytes(every_step, names, definition.config.dtype) > limit:
        return params
    return {**params, **meshes.gather(every_step, names)}
