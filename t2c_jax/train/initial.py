"""The parameters that a run starts from: drawn afresh, or taken from another workdir (config.init_from).

What is taken and what is drawn is settled by path and shape, before anything is trained, and shown. Every parameter of
the source has its place. What the source lacks may be a whole part, such as the decoder over a pre-trained encoder,
or the mix of an encoder's layers; a part with a hole in it is an error, for nobody would want one.

Under adapters (config.lora) the source is the base: it is taken whole, and again whenever the run goes on or answers,
since no checkpoint of the run holds it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from t2c_jax import config as configs
from t2c_jax import console, runtime
from t2c_jax import mesh as meshes
from t2c_jax.config import PRETRAINED, Experiment
from t2c_jax.data.tokenizer import load_tokenizer
from t2c_jax.errors import UserError
from t2c_jax.models import lora
from t2c_jax.models.functional import Definition, Params
from t2c_jax.train.checkpoint import Checkpoints, flat
from t2c_jax.train.step import Compiled, State, model_params
from t2c_jax.workdir import Workdir, digest

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
    _check_whole(experiment, plan(checkpoints.params_shapes(step), _shapes(abstract), _where(origin, step)))
    checkpoints.close()
    if experiment.lora.rank:
        lora.axis_names(Definition(experiment.model, rows).axis_names(), experiment.lora)


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
    _check_whole(experiment, found)
    drawn = flat(state["params"])
    del state["params"]
    for path in found.taken:
        del drawn[path]  # its room is wanted
    wanted = _nested({path: targets[path] for path in found.taken})
    taken = flat(checkpoints.foreign_params(step, wanted))
    checkpoints.close()
    state["params"] = _nested({**drawn, **taken})
    if "ema" in state and "adapters" not in state:
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


def _source(origin: Workdir) -> tuple[Checkpoints | _Adapted, int]:
    checkpoints = Checkpoints(origin.checkpoints, {}, read_only=True)
    step = checkpoints.best()
    if step is None:
        raise UserError(f"config.init_from: '{origin.checkpoints}' has no checkpoint; finish that run, or name another")
    if json.loads(origin.config.read_text("utf-8")).get("lora", {}).get("rank"):
        checkpoints.close()
        return _Adapted(origin), step
    return checkpoints, step


class _Adapted:
    """What ``Checkpoints`` tells of a source's parameters, where the source is a run of adapters: them merged."""

    def __init__(self, origin: Workdir) -> None:
        self.experiment = configs.load(str(origin.config))
        self.rows = load_tokenizer(origin.tokenizer).vocab_size
        self._checkpoints = Checkpoints(origin.checkpoints, about_adapters(self.experiment), read_only=True)

    def params_shapes(self, step: int) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter by dotted path: adapters change none."""
        return _shapes(Definition(self.experiment.model, self.rows).abstract_params())

    def foreign_params(self, step: int, abstract_params: Any) -> Params:
        """Base and adapters merged, laid out as ``abstract_params`` says."""
        definition = Definition(self.experiment.model, self.rows)
        return restore_params(self.experiment, definition, self._checkpoints.foreign_params, step, abstract_params)

    def close(self) -> None:
        """As of ``Checkpoints``."""
        self._checkpoints.close()


def _check_whole(experiment: Experiment, found: Plan) -> None:
    if experiment.lora.rank and found.drawn:
        raise UserError(
            f"config.lora.rank={experiment.lora.rank}: '{experiment.init_from}' lacks the parameter {found.drawn[0]},"
            " and adapters leave the rest as it is; train the model with lora.rank=0 first, and name that run"
        )


def about_adapters(experiment: Experiment) -> dict[str, Any]:
    """What a checkpoint of adapters and a run must agree on beside the model; empty for a run without.

    The base is told by the names of its best checkpoint's data files, which are drawn at random as they are written,
    with what the checkpoint says it is of. So a copy of the base is the same base, and one trained anew is another.

    Raises:
      UserError: config.init_from is missing or has no checkpoint.
    """
    if not experiment.lora.rank:
        return {}
    origin = _origin(experiment)
    source, step = _source(origin)
    source.close()
    directory = origin.checkpoints / str(step)
    data = sorted(path.name for path in (directory / "state").rglob("*") if path.parent.name == "d")
    settings = configs.to_dict(experiment.lora)
    del settings["dropout"]
    return {"lora": settings, "base": digest(*data, *(directory / "about").glob("metadata"))}


def base_params(experiment: Experiment, abstract_params: Any) -> Params:
    """The frozen parameters under adapters: config.init_from's, laid out as ``abstract_params`` says.

    Raises:
      UserError: config.init_from is missing, or is not the whole model.
    """
    origin = _origin(experiment)
    source, step = _source(origin)
    found = plan(source.params_shapes(step), _shapes(abstract_params), _where(origin, step))
    _check_whole(experiment, found)
    params = source.foreign_params(step, abstract_params)
    source.close()
    return params


def restore_params(
    experiment: Experiment, definition: Definition, read: Callable[[int, Any], Any], step: int, abstract_params: Any
) -> Params:
    """The parameters that a run's checkpoint stands for: its own, or its adapters merged into config.init_from's.

    Args:
      experiment: the run's.
      definition: its model.
      read: ``restore_params`` or ``foreign_params`` of its checkpoints.
      step: of the checkpoint.
      abstract_params: shapes, dtypes and shardings to restore into.

    Raises:
      UserError: as ``read``; or the base is missing, or is another than the adapters'.
    """
    if not experiment.lora.rank:
        return read(step, abstract_params)
    shapes = jax.eval_shape(
        lambda: lora.init(jax.random.key(0), abstract_params, definition.axis_names(), experiment.lora)
    )
    mesh = jax.tree.leaves(abstract_params)[0].sharding.mesh
    layout = meshes.shardings(lora.axis_names(definition.axis_names(), experiment.lora), mesh)
    wanted = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, layout
    )
    adapters = read(step, wanted)

    def merged(params: Params, adapters: Params) -> Params:
        return model_params({"params": params, "adapters": adapters}, definition, experiment.lora)

    layout = jax.tree.map(lambda leaf: leaf.sharding, abstract_params)
    with jax.set_mesh(mesh):
        return jax.jit(merged, out_shardings=layout, donate_argnums=0)(
            base_params(experiment, abstract_params), adapters
        )


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
