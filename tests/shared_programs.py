"""Tests of one process share compiled programs: a run of the same config does not trace and compile its own again.

``jax.jit`` keeps programs by the identity of the function, and every run makes its functions anew. Here two steps,
or two searches, that are made of the same values are the same function. Initial states have no program of their own
(``op_by_op``). A test that patches what programs are made of, or is about them, asks for ``own_programs``.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import op_by_op
import pytest

from t2c_jax.config import DataConfig, TrainConfig
from t2c_jax.decode.generator import Generator
from t2c_jax.train.state import Trainable
from t2c_jax.train.step import Compiled

KEPT = 48  # programs of each kind: some 20 MB each
# What the loop reads of config.train, and no program.
OF_THE_LOOP = (
    *("log_every", "eval_every", "eval_batches", "save_every", "keep", "samples", "stop_metric", "stop_examples"),
    *("patience", "watchdog_seconds", "wandb", "max_skips", "rollback_steps"),
)
# Of config.data, what the shapes of batches say, or nothing does.
OF_THE_BATCHES = (
    *("encoder_length", "decoder_length", "batch_size", "pack", "packing_pool", "prefix", "direction"),
    *("reverse_source", "temperature"),
)
_made: dict[str, OrderedDict[Any, Any]] = {"train": OrderedDict(), "search": OrderedDict()}
_shared = True


def _once(kind: str, key: Any, make: Callable[[], Any]) -> Any:
    kept = _made[kind]
    if not _shared:
        return make()
    if key not in kept:
        kept[key] = make()
    kept.move_to_end(key)
    while len(kept) > KEPT:
        kept.popitem(last=False)
    return kept[key]


def programs(kind: str) -> OrderedDict[Any, Any]:
    """The functions of a kind that are shared now, "train" or "search"."""
    return _made[kind]


def forget() -> None:
    """Drops all programs that are shared now."""
    for kept in _made.values():
        kept.clear()


def _mesh(mesh: Any) -> Any:
    return mesh, tuple(device.id for device in mesh.devices.flat)


def install() -> None:
    """Makes ``Compiled`` and ``Generator`` share their functions."""
    op_by_op.install()
    initialise, search = Compiled.__init__, Generator._compiled
    default, default_data = TrainConfig(), DataConfig()

    @functools.wraps(initialise)
    def compiled(self: Compiled, trainable: Trainable, train: TrainConfig, data: DataConfig, mesh: Any) -> None:
        of_the_step = replace(train, **{name: getattr(default, name) for name in OF_THE_LOOP})
        if trainable.optimizer.config.schedule != "cosine":  # no other one looks at the end
            of_the_step = replace(of_the_step, steps=default.steps)
        of_the_data = replace(data, **{name: getattr(default_data, name) for name in OF_THE_BATCHES})
        parts = trainable.definition, trainable.optimizer.config, trainable.lora_config, of_the_step, of_the_data
        of_the_state = trainable.seed, trainable.ema, tuple(sorted(trainable.modules_to_save))
        key = repr(parts), of_the_state, _mesh(mesh)

        def make() -> dict[str, Any]:
            initialise(self, trainable, train, data, mesh)
            return dict(vars(self))

        vars(self).update(_once("train", key, make))

    @functools.wraps(search)
    def searching(self: Generator, settings: Any) -> Any:
        if settings.idf_weight:  # of the run's own pairs
            return search(self, settings)
        models = [(definition.config, definition.vocab_size) for definition in self._definitions]
        key = repr((models, settings)), self.tokenizer.digest, _mesh(self.mesh)
        return _once("search", key, functools.partial(search, self, settings))

    Compiled.__init__ = compiled  # type: ignore[method-assign]
    Generator._compiled = searching  # type: ignore[method-assign]


@pytest.fixture
def own_programs() -> Iterator[None]:
    """Programs of this test alone, for one that patches what they are made of."""
    global _shared
    _shared = op_by_op.enabled = False
    yield
    _shared = op_by_op.enabled = True
