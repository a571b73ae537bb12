"""The parameters that a run starts from: drawn afresh, or taken from another workdir (config.init_from).

What is taken and what is drawn is settled (``train.settle``) before anything is trained, and shown.

Under adapters (config.lora) the source is the base: it is taken as it is, and again whenever the run goes on or
answers, since no checkpoint of the run holds it. What it lacks, such as a new head, trains in full beside the adapters.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from t2c_jax import config as configs
from t2c_jax import console, runtime
from t2c_jax import mesh as meshes
from t2c_jax.checkpoints.checkpoint import Checkpoints
from t2c_jax.checkpoints.compatibility import Difference, check_settings, different_settings
from t2c_jax.checkpoints.partial_restore import (
    Matching,
    Settled,
    Shapes,
    extended,
    match_pieces,
    matched,
    scaled,
    settle,
)
from t2c_jax.checkpoints.pytrees import flat
from t2c_jax.config import Experiment
from t2c_jax.errors import UserError
from t2c_jax.models import lora
from t2c_jax.models.definition import Definition, Params
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.tokenizers.loading import ENCODER, load_tokenizer
from t2c_jax.train.state import State
from t2c_jax.train.step import Compiled
from t2c_jax.workdir import Workdir, at_step, digest


def check_origin(experiment: Experiment) -> None:
    """Whether config.init_from has what this run wants of it, before any work is done for the run.

    Raises:
      UserError: it is missing, unfinished, of another encoder, of another shape or trained under other settings.
    """
    if not experiment.init_from:
        return
    origin = _origin(experiment)
    if experiment.from_scratch:
        return
    trains = experiment.tokenizer.retrain or _lacks_target_tokenizer(experiment, origin)
    rows = experiment.tokenizer.vocab_size if trains else load_tokenizer(origin.tokenizer).vocab_size
    abstract = Definition(experiment.model, rows).abstract_params()
    checkpoints, step = _source(experiment, origin)
    settled = _settle(experiment, origin, checkpoints, step, _shapes(abstract))
    _check_base(experiment, [one for one in settled if one.how != "drawn"])
    _differing(experiment, origin, settled, step)
    checkpoints.close()
    if experiment.lora.rank:
        lora.axis_names(Definition(experiment.model, rows).axis_names(), experiment.lora, _drawn(settled))


def initial_state(experiment: Experiment, compiled: Compiled, tokenizer: Tokenizer | None = None) -> State:
    """The state before the first step, on the mesh; the moving average starts from the same parameters.

    Args:
      experiment: says where the run starts from.
      compiled: the run's functions.
      tokenizer: this run's, that writes targets; None for the source's own.

    Raises:
      UserError: config.init_from is missing, or does not fit the model or the tokenizer.
    """
    state = compiled.init()
    if not experiment.init_from or experiment.from_scratch:
        return state
    origin = _origin(experiment)
    matching = _matching(experiment, origin, tokenizer)
    checkpoints, step = _source(experiment, origin)
    targets = flat(compiled.abstract_state_on_mesh()["params"])
    shapes = checkpoints.params_shapes(step)
    settled = _settle(experiment, origin, checkpoints, step, _shapes(compiled.definition.abstract_params()))
    _check_base(experiment, [one for one in settled if one.path in targets])
    differing = _differing(experiment, origin, settled, step)
    params = flat(state["params"])
    del state["params"]
    whole = [one.path for one in settled if one.how == "taken" and one.source == one.path]
    for path in whole:
        del params[path]  # its room is wanted
    params |= flat(checkpoints.foreign_params(step, _nested({path: targets[path] for path in whole})))
    for one in settled:
        if one.source and one.path not in whole:
            target = targets[one.path]
            # What is extended is split along other axes than the one that differs; a vocabulary's rows are not.
            sharding = target.sharding if one.how == "extended" else NamedSharding(compiled.mesh, PartitionSpec())
            wanted = jax.ShapeDtypeStruct(shapes[one.source], target.dtype, sharding=sharding)
            taken = flat(checkpoints.foreign_params(step, _nested({one.source: wanted})))[one.source]
            params[one.path] = _combined(one, taken, params[one.path], matching, target.sharding)
    checkpoints.close()
    state["params"] = _nested(params)
    if "ema" in state and "adapters" not in state:
        copy = jax.jit(lambda params: jax.tree.map(jnp.copy, params), out_shardings=compiled.shardings["ema"])
        state["ema"] = copy(state["params"])
    if runtime.is_primary():
        _show(settled, differing, matching, _where(origin, step))
    return state


def _combined(
    one: Settled, taken: jax.Array, drawn: jax.Array, matching: Matching | None, sharding: NamedSharding
) -> jax.Array:
    def combine(taken: jax.Array, drawn: jax.Array) -> jax.Array:
        if one.how == "extended":
            return extended(taken, drawn, one.axis)
        if one.how == "matched":
            assert matching is not None
            taken = matched(taken, jnp.asarray(matching.rows_V))
        return scaled(taken, one.scale)

    return jax.jit(combine, out_shardings=sharding)(taken, drawn)


def _matching(experiment: Experiment, origin: Workdir, tokenizer: Tokenizer | None) -> Matching | None:
    """Of this run's pieces with the source's; None where the source has none, or they are the same."""
    if _lacks_target_tokenizer(experiment, origin):
        return None
    theirs = load_tokenizer(origin.tokenizer)
    ours = tokenizer or theirs
    if experiment.tokenizer.retrain:
        return match_pieces(ours, theirs)
    if ours.digest != theirs.digest:
        raise UserError(
            f"the tokenizer of this run is another than that of config.init_from, '{origin.name}': run t2c tokenizer"
            " and t2c prepare, or set config.tokenizer.retrain=True"
        )
    return None


def _lacks_target_tokenizer(experiment: Experiment, origin: Workdir) -> bool:
    """Whether the source is an imported encoder, whose tokenizer is for sources alone."""
    return experiment.model.encoder.own_tokenizer and not (origin.tokenizer / ENCODER).is_dir()


def _origin(experiment: Experiment) -> Workdir:
    origin, encoder = Workdir(at_step(experiment.init_from)[0]), experiment.model.encoder.type
    hint = f"make it with t2c import --from DIR --workdir {origin.name}, or name another"
    if not origin.config.is_file():
        raise UserError(f"config.init_from: '{origin.name}' is no workdir of an import or of a run; {hint}")
    try:
        theirs = json.loads(origin.config.read_text("utf-8"))["model"]["encoder"]["type"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"config.init_from: '{origin.config}' is damaged; {hint}") from None
    if theirs != encoder:
        raise UserError(
            f"config.init_from: '{origin.name}' holds an encoder of type {theirs}, and config.model.encoder is"
            f" {encoder}; {hint}"
        )
    origin.manifest("tokenizer")
    return origin


def _source(experiment: Experiment, origin: Workdir) -> tuple[Checkpoints | _Adapted, int]:
    checkpoints = Checkpoints(origin.checkpoints, {}, read_only=True)
    step = at_step(experiment.init_from)[1]
    if step is None:
        step = checkpoints.best()
    if step is None:
        raise UserError(f"config.init_from: '{origin.checkpoints}' has no checkpoint; finish that run, or name another")
    if step not in (steps := checkpoints.steps()):
        have = ", ".join(map(str, steps)) or "none"
        raise UserError(f"config.init_from: '{origin.checkpoints}' has no checkpoint {step}; it has {have}")
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
        self._merged: dict[str, jax.Array] = {}

    def params_shapes(self, step: int) -> dict[str, tuple[int, ...]]:
        """The shape of each parameter by dotted path: adapters change none."""
        return _shapes(Definition(self.experiment.model, self.rows).abstract_params())

    def foreign_params(self, step: int, abstract_params: Any) -> Params:
        """Base and adapters merged, those of ``abstract_params`` and laid out as it says."""
        wanted = flat(abstract_params)
        if not wanted:
            return {}
        if not self._merged:
            definition = Definition(self.experiment.model, self.rows)
            mesh = next(iter(wanted.values())).sharding.mesh
            whole = jax.tree.map(
                lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
                definition.abstract_params(),
                definition.shardings(mesh),
            )
            read = self._checkpoints.foreign_params
            self._merged = flat(restore_params(self.experiment, definition, read, step, whole))
        return _nested({path: jax.device_put(self._merged[path], leaf.sharding) for path, leaf in wanted.items()})

    def close(self) -> None:
        """As of ``Checkpoints``."""
        self._checkpoints.close()


def _check_base(experiment: Experiment, settled: Sequence[Settled]) -> None:
    """Whether adapters may leave these parameters as they come."""
    other = [one for one in settled if one.how != "left" and (one.how != "taken" or one.source != one.path)]
    if experiment.lora.rank and other:
        raise UserError(
            f"config.lora.rank={experiment.lora.rank}: '{experiment.init_from}' lacks the parameter {other[0].path} as"
            f" it is here ({other[0].in_words(None)}), and adapters leave the base as it is; train the model with"
            " lora.rank=0 first, and name that run"
        )


def _drawn(settled: Sequence[Settled]) -> frozenset[str]:
    return frozenset(one.path for one in settled if one.how == "drawn")


def beside_adapters(experiment: Experiment, rows: int) -> frozenset[str]:
    """Dotted paths of the parameters that train in full beside adapters, for config.init_from lacks them.

    Args:
      experiment: the run's; without adapters there are none.
      rows: of the vocabulary.

    Raises:
      UserError: config.init_from is missing, or does not fit the model.
    """
    if not experiment.lora.rank:
        return frozenset()
    origin = _origin(experiment)
    source, step = _source(experiment, origin)
    settled = _settle(experiment, origin, source, step, _shapes(Definition(experiment.model, rows).abstract_params()))
    source.close()
    return _drawn(settled)


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
    source, step = _source(experiment, origin)
    source.close()
    directory = origin.checkpoints / str(step)
    data = sorted(path.name for pattern in ("d/*", "*/d/*") for path in (directory / "state").glob(pattern))
    settings = configs.to_dict(experiment.lora)
    del settings["dropout"]
    return {"lora": settings, "base": digest(*data, *(directory / "about").glob("metadata"))}


def base_params(experiment: Experiment, abstract_params: Any) -> Params:
    """The frozen parameters under adapters: config.init_from's, laid out as ``abstract_params`` says.

    Raises:
      UserError: config.init_from is missing, or lacks one as it is here.
    """
    origin = _origin(experiment)
    source, step = _source(experiment, origin)
    _check_base(experiment, _settle(experiment, origin, source, step, _shapes(abstract_params)))
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
    axes, beside = definition.axis_names(), beside_adapters(experiment, definition.vocab_size)
    draw = functools.partial(lora.init, axes=axes, config=experiment.lora, beside=beside)
    shapes = jax.eval_shape(draw, jax.random.key(0), abstract_params)
    mesh = jax.tree.leaves(abstract_params)[0].sharding.mesh
    layout = meshes.shardings(lora.axis_names(axes, experiment.lora, beside), mesh)
    wanted = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes, layout
    )
    adapters = read(step, wanted)

    def merged(params: Params, adapters: Params) -> Params:
        return lora.merged(params, adapters, definition.axis_names(), experiment.lora)

    layout = jax.tree.map(lambda leaf: leaf.sharding, abstract_params)
    with jax.set_mesh(mesh):
        return jax.jit(merged, out_shardings=layout, donate_argnums=0)(
            base_params(experiment, lora.divided(abstract_params, beside)[0]), adapters
        )


def _settle(
    experiment: Experiment, origin: Workdir, checkpoints: Checkpoints | _Adapted, step: int, target: Shapes
) -> list[Settled]:
    model = json.loads(origin.config.read_text("utf-8"))["model"]
    scale = model["width"] ** -0.5 if model.get("scale_tied_output") else 1.0
    retrained, where = experiment.tokenizer.retrain, _where(origin, step)
    return settle(checkpoints.params_shapes(step), target, where, retrained=retrained, output_scale=scale)


def _differing(experiment: Experiment, origin: Workdir, settled: Sequence[Settled], step: int) -> list[Difference]:
    theirs = json.loads(origin.config.read_text("utf-8"))
    taken = {one.path.partition(".")[0] for one in settled if one.source}
    differing = different_settings(experiment, theirs, taken)
    check_settings(experiment, differing, _where(origin, step))
    return differing


def _shapes(abstract: Any) -> dict[str, tuple[int, ...]]:
    return {path: tuple(leaf.shape) for path, leaf in flat(abstract).items()}


def _where(origin: Workdir, step: int) -> str:
    return f"'{origin.name}' (checkpoint {step})"


def _nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, last = path.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = leaf
    return nested


def _show(settled: Sequence[Settled], differing: Sequence[Difference], matching: Matching | None, where: str) -> None:
    rows = [(one.path, " x ".join(map(str, one.shape)) or "1", one.in_words(matching)) for one in settled]
    rows += [(f"config.{key}", "", f"{here}, there {there}") for key, here, there in differing]
    console.table(f"Initial parameters: taken from {where}, or drawn afresh", ("parameter", "shape", ""), rows)
