"""Checkpoints to a generator: one of a run, or several of it and of others as an ensemble."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from t2c_jax import config as configs
from t2c_jax import mesh as meshes
from t2c_jax.checkpoints.checkpoint import Checkpoints
from t2c_jax.checkpoints.metadata import metadata
from t2c_jax.checkpoints.origin import Origin, restore_params
from t2c_jax.checkpoints.pytrees import abstract_on
from t2c_jax.config import Experiment
from t2c_jax.data.encoder_features import encoder_features
from t2c_jax.data.tasks.translation import translation
from t2c_jax.data.tokens import Tokens, inverse_frequency
from t2c_jax.decode.generator import Generator, Member
from t2c_jax.errors import UserError
from t2c_jax.mesh import Workload
from t2c_jax.models.definition import Definition
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import Workdir, at_step


def load_generator(
    experiment: Experiment, workdir: Workdir, step: int | None = None, others: Sequence[str] = (), average: int = 1
) -> tuple[list[str], Generator]:
    """A generator over a checkpoint, the best one by default, averaged with others where they are named.

    Args:
      experiment: of the run in ``workdir``.
      workdir: holds tokenizer and checkpoints.
      step: the checkpoint.
      average: more than 1 for the mean of the parameters of that many checkpoints, the latest up to ``step``.
      others: ``DIR``, ``DIR@STEP`` or ``@STEP``: of another run the best or a given checkpoint, or another of this one.

    Returns:
      The members' names, this run's step first, and the generator.

    Raises:
      UserError: no such run or checkpoint, or one over another tokenizer or with another kind of input.
    """
    mesh = inference_mesh(experiment)
    tokenizers = Tokenizers.load(workdir.tokenizer, experiment.data.direction)
    chosen, member = _member(experiment, workdir, tokenizers, mesh, step, average)
    named, members = [str(chosen)], [member]
    for other in others:
        try:
            directory, at = at_step(other)
        except UserError as error:
            raise UserError(f"--with {error}") from None
        run = Workdir(directory) if directory else workdir
        if not run.config.is_file():
            raise UserError(f"--with {other}: '{run.name}' holds no run")
        settings = configs.load(str(run.config)) if directory else experiment
        theirs = Tokenizers.load(run.tokenizer, settings.data.direction)
        kinds = [(e.data.direction, e.data.prefix, e.data.reverse_source) for e in (settings, experiment)]
        if theirs.digest != tokenizers.digest or kinds[0] != kinds[1]:
            raise UserError(
                f"--with {other}: its tokenizer, config.data.direction, prefix or reverse_source is another than this"
                " run's; members of an ensemble share them"
            )
        chosen, member = _member(settings, run, theirs, mesh, at)
        named.append(f"{directory}@{chosen}")
        members.append(member)
    return named, make_generator(experiment, workdir, tokenizers, members, mesh)


def inference_mesh(experiment: Experiment, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh of a run that answers: it holds the parameters alone, and batches are padded to it.

    Raises:
      UserError: the config does not fit the devices, or no choice of mesh holds the parameters.
    """
    definition = Definition(experiment.model, experiment.tokenizer.vocab_size)
    return meshes.make_mesh(experiment.mesh, Workload(definition.nbytes(), definition.axis_sizes()), devices)


def make_generator(
    experiment: Experiment, workdir: Workdir, tokenizers: Tokenizers, members: Sequence[Member], mesh: Mesh
) -> Generator:
    """A generator over given parameters, as the config of the run in ``workdir`` says."""

    def frequencies() -> np.ndarray:
        return inverse_frequency(Tokens.open(workdir.tokens, "train"), tokenizers)

    copy = any(member.definition.config.copy for member in members)
    template = translation(tokenizers, experiment.data, copy=copy).source
    prompts = encoder_features(experiment.data, experiment.model).prompts(tokenizers, template)
    return Generator(members, prompts, tokenizers.target, experiment.decode, mesh, frequencies)


def _member(
    experiment: Experiment, workdir: Workdir, tokenizers: Tokenizers, mesh: Mesh, step: int | None, average: int = 1
) -> tuple[int, Member]:
    definition = Definition(experiment.model, tokenizers.target.vocab_size)
    base = Origin(experiment.origin) if experiment.lora.rank else None
    identity = "" if base is None else base.identity
    expected = metadata(experiment.model, tokenizers.digest, experiment.lora, identity)
    checkpoints = Checkpoints(workdir.checkpoints, expected, read_only=True)
    steps = checkpoints.steps()
    if step is None:
        step = checkpoints.best() if average == 1 else max(steps, default=None)
    if step is None or step not in steps:
        have = f"it has {', '.join(map(str, steps))}" if steps else "run t2c train first"
        raise UserError(f"'{workdir.checkpoints}' has no checkpoint{'' if step is None else f' {step}'}; {have}")
    abstract = abstract_on(definition.abstract_params(), definition.shardings(mesh))

    def params_at(step: int) -> Any:
        read = functools.partial(checkpoints.restore_params, step)
        return restore_params(read, abstract, definition, experiment.lora, base)

    params = params_at(step)
    if average != 1:
        latest = [at for at in steps[-experiment.train.keep :] if at <= step]  # an old best one is none of them
        if not 1 <= average <= len(latest):
            raise UserError(
                f"--average {average}: '{workdir.checkpoints}' has {len(latest)} of the latest checkpoints up to step"
                f" {step}; a run keeps config.train.keep={experiment.train.keep} of them"
            )
        add = jax.jit(lambda total, more: jax.tree.map(jnp.add, total, more), donate_argnums=0)
        for other in latest[-average:-1]:
            params = add(params, params_at(other))
        params = jax.jit(lambda total: jax.tree.map(lambda leaf: leaf / average, total), donate_argnums=0)(params)
    checkpoints.close()
    if base is not None:
        base.close()
    return step, Member(definition, params)
