"""The parameters that a run starts from: drawn afresh, or taken from another workdir (config.init_from).

What is taken and what is drawn is settled by path and shape, before anything is trained, and shown. Every parameter of
the source has its place. What the source lacks may be a whole part, such as the decoder over a pre-trained encoder,
or the mix of an encoder's layers; a part with a hole in it is an error, for nobody would want one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from t2c_jax import console, runtime
from t2c_jax.config import PRETRAINED, Experiment
from t2c_jax.data.tokenizer import load_tokenizer
from t2c_jax.errors import UserError
from t2c_jax.models.functional import Definition
from t2c_jax.train.checkpoint import Checkpoints, flat
from t2c_jax.train.step import Compiled, State
from t2c_jax.workdir import Workdir

Shapes = Mapping[str, tuple[int, ...]]
MIX = "encoder.mix"  # of all layers: a run's own way to use an encoder, which an import does not have


@dataclass(frozen=True)
class Plan:
    """Which parameters come from the source, and which are drawn; dotted paths, in order."""

    taken: tuple[str, ...]
    drawn: tuple[str, ...]


def plan(source: Shapes, target: Shapes, where: str) -> Plan:
    """Matches parameters by path and shape.

    Args:
      source: shapes of the parameters to start from.
      target: shapes of the run's own.
      where: names the source in messages.

    Raises:
      UserError: naming a parameter of the source without a place, one of another shape, or one that is missing.
    """
    for path, shape in sorted(source.items()):
        if path not in target:
            raise UserError(
                f"config.init_from: {where} holds the parameter {path}, which this run's model has not; make"
                " config.model as it is in the source's config.json"
            )
        if target[path] != shape:
            raise UserError(
                f"config.init_from: {path} is {list(shape)} in {where} and {list(target[path])} here; make"
                " config.model as it is in the source's config.json"
            )
    parts = {_part(path) for path in source}
    drawn = sorted(path for path in target if path not in source)
    for path in drawn:
        if _part(path) in parts:
            raise UserError(
                f"config.init_from: {where} lacks the parameter {path}, though it has other parts of the {_part(path)};"
                " make config.model as it is in the source's config.json"
            )
    return Plan(tuple(sorted(source)), tuple(drawn))


def _part(path: str) -> str:
    return MIX if path.startswith(f"{MIX}.") else path.partition(".")[0]


def check_origin(experiment: Experiment) -> None:
    """Whether config.init_from has what this run wants of it, before any work is done for the run.

    Raises:
      UserError: it is missing, unfinished, of another encoder or of another shape.
    """
    if not experiment.init_from:
        return
    origin = _origin(experiment)
    own_encoder = experiment.model.encoder in PRETRAINED
    own = origin.tokenizer / "encoder"
    fresh = own_encoder and not own.is_dir()  # a decoder with a tokenizer that the run is yet to train
    rows = experiment.tokenizer.vocab_size if fresh else load_tokenizer(origin.tokenizer).vocab_size
    abstract = Definition(experiment.model, rows).abstract_params()
    checkpoints, step = _source(origin)
    plan(checkpoints.params_shapes(step), _shapes(abstract), _where(origin, step))
    checkpoints.close()


def initial_state(experiment: Experiment, compiled: Compiled) -> State:
    """The state before the first step, on the mesh; the moving average starts from the same parameters.

    Raises:
      UserError: config.init_from is missing, or does not fit the model.
    """
    state = compiled.init()
    if not experiment.init_from:
        return state
    origin = _origin(experiment)
    checkpoints, step = _source(origin)
    targets = flat(compiled.abstract_state_on_mesh()["params"])
    found = plan(
        checkpoints.params_shapes(step), {path: leaf.shape for path, leaf in targets.items()}, _where(origin, step)
    )
    drawn = flat(state["params"])
    del state["params"]
    for path in found.taken:
        del drawn[path]  # its room is wanted
    wanted = _nested({path: targets[path] for path in found.taken})
    taken = flat(checkpoints.foreign_params(step, wanted))
    checkpoints.close()
    state["params"] = _nested({**drawn, **taken})
    if "ema" in state:
        copy = jax.jit(lambda params: jax.tree.map(jnp.copy, params), out_shardings=compiled.shardings["ema"])
        state["ema"] = copy(state["params"])
    if runtime.is_primary():
        _show(found, {path: leaf.shape for path, leaf in targets.items()}, _where(origin, step))
    return state


def _origin(experiment: Experiment) -> Workdir:
    origin, encoder = Workdir(experiment.init_from), experiment.model.encoder
    hint = f"make it with t2c import --from DIR --workdir {origin.path}, or name another"
    if not origin.config.is_file():
        raise UserError(f"config.init_from: '{origin.path}' is no workdir of an import or of a run; {hint}")
    try:
        theirs = json.loads(origin.config.read_text("utf-8"))["model"]["encoder"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"config.init_from: '{origin.config}' is damaged; {hint}") from None
    if theirs != encoder:
        raise UserError(
            f"config.init_from: '{origin.path}' holds an encoder of type {theirs}, and config.model.encoder is"
            f" {encoder}; {hint}"
        )
    origin.manifest("tokenizer")
    return origin


def _source(origin: Workdir) -> tuple[Checkpoints, int]:
    checkpoints = Checkpoints(origin.checkpoints, {}, read_only=True)
    step = checkpoints.best()
    if step is None:
        raise UserError(f"config.init_from: '{origin.checkpoints}' has no checkpoint; finish that run, or name another")
    return checkpoints, step


def _where(origin: Workdir, step: int) -> str:
    return f"'{Path(origin.path)}' (checkpoint {step})"


def _shapes(abstract: Any) -> dict[str, tuple[int, ...]]:
    return {path: tuple(leaf.shape) for path, leaf in flat(abstract).items()}


def _nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, last = path.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = leaf
    return nested


def _show(found: Plan, shapes: Shapes, where: str) -> None:
    rows = [(path, " x ".join(map(str, shapes[path])) or "1", "taken") for path in found.taken]
    rows += [(path, " x ".join(map(str, shapes[path])) or "1", "drawn") for path in found.drawn]
    console.table(f"Initial parameters: taken from {where}, or drawn afresh", ("parameter", "shape", ""), rows)
