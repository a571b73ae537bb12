"""Checkpoints to a generator: one of a run, or several of it and of others as an ensemble."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh

from t2c_jax import mesh as meshes
from t2c_jax.checkpoints.bases import Bases
from t2c_jax.checkpoints.saved_run import SavedRun
from t2c_jax.config import DataConfig, DecodeConfig, MeshConfig, RetrieveConfig
from t2c_jax.data.encoder_features import encoder_features
from t2c_jax.data.retrieved import PromptNeighbours, prompt_neighbours
from t2c_jax.data.tasks.translation import translation
from t2c_jax.data.tokens import Tokens, inverse_frequency, open_tokens, training_targets
from t2c_jax.decode import drafts
from t2c_jax.decode.generator import Generator, Member
from t2c_jax.decode.run_encoder import RunEncoder
from t2c_jax.errors import UserError
from t2c_jax.mesh import Workload
from t2c_jax.models.definition import Definition
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import Workdir, at_step


def load_generator(
    run: SavedRun,
    decode: DecodeConfig,
    mesh_config: MeshConfig,
    step: int | None = None,
    others: Sequence[str] = (),
    average: int = 1,
    bases: Bases | None = None,
) -> tuple[list[str], Generator]:
    """A generator over a checkpoint, the best one by default, averaged with others where they are named.

    Args:
      run: what answers.
      decode: the settings of calls that bring none.
      mesh_config: of the devices that answer.
      step: the checkpoint.
      others: ``DIR``, ``DIR@STEP`` or ``@STEP``: of another run the best or a given checkpoint, or another of this one.
      average: more than 1 for the mean of the parameters of that many checkpoints, the latest up to ``step``.
      bases: keeps the arrays that several generators read, for one of this run alone and no mean.

    Returns:
      The members' names, this run's step first, and the generator.

    Raises:
      UserError: no such run or checkpoint, or one over another tokenizer or with another kind of input.
    """
    mesh = inference_mesh(run.definition, mesh_config)
    shared = None
    if bases is None or others or average != 1:
        chosen, params = run.restore(mesh, step, average)
    else:
        chosen, params, shared = run.restore_over(bases, mesh, step)
    named, members = [str(chosen)], [Member(run.definition, params, shared)]
    for other in others:
        try:
            directory, at = at_step(other)
        except UserError as error:
            raise UserError(f"--with {error}") from None
        try:
            theirs = SavedRun.open(directory) if directory else run
        except UserError as error:
            raise UserError(f"--with {other}: {error}") from None
        if _prompts_of(theirs) != _prompts_of(run):
            raise UserError(
                f"--with {other}: its tokenizer, config.data.direction, prefix, reverse_source, placeholders or"
                " retrieve is another than this run's, or its training pairs are; members of an ensemble share them"
            )
        chosen, params = theirs.restore(mesh, at)
        named.append(f"{directory}@{chosen}")
        members.append(Member(theirs.definition, params))
    return named, make_generator(members, run.tokenizers, run.data, decode, mesh, run.workdir)


def inference_mesh(definition: Definition, config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh of a run that answers: it holds the parameters alone, and batches are padded to it.

    Raises:
      UserError: the config does not fit the devices, or no choice of mesh holds the parameters.
    """
    return meshes.make_mesh(config, Workload(definition.nbytes(), definition.axis_sizes()), devices)


def make_generator(
    members: Sequence[Member],
    tokenizers: Tokenizers,
    data: DataConfig,
    decode: DecodeConfig,
    mesh: Mesh,
    workdir: Workdir,
) -> Generator:
    """A generator over given parameters.

    Args:
      members: models with their parameters; several make an ensemble.
      tokenizers: of all of them.
      data: says how prompts are encoded.
      decode: the settings of calls that bring none.
      mesh: where the parameters are.
      workdir: holds the index of config.data.retrieve, and the run's tokens, whose frequencies config.decode.idf_weight
        needs. Where the tokens are there, config.decode.prompt_lookup makes a table of them.

    Raises:
      UserError: as ``open_neighbours``.
    """

    def frequencies() -> np.ndarray:
        return inverse_frequency(Tokens.open(workdir.tokens, "train"), tokenizers)

    def ngram_table(count: int) -> drafts.NgramTable | None:
        try:
            tokens = open_tokens(workdir, "train", tokenizers)
        except UserError:  # answers do not depend on it
            return None
        return drafts.ngram_table(training_targets(tokens, tokenizers, drafts.MOST_TOKENS), count)

    template = translation(tokenizers, data, copy=True).source  # prompt lookup copies whatever the model does
    neighbours = open_neighbours(workdir, tokenizers, data)
    prompts = encoder_features(data, members[0].definition.config).prompts(tokenizers, template, neighbours)
    return Generator(members, prompts, tokenizers.target, decode, mesh, frequencies, ngram_table)


def open_neighbours(workdir: Workdir, tokenizers: Tokenizers, data: DataConfig) -> PromptNeighbours | None:
    """``prompt_neighbours``, with config.data.retrieve.encoder where it names a run.

    Raises:
      UserError: the index is missing, damaged, or of another corpus or tokenizer; or its encoder is gone or changed.
    """
    return prompt_neighbours(workdir, tokenizers, data, functools.partial(RunEncoder, data.retrieve.encoder))


def _prompts_of(run: SavedRun) -> tuple[str | bool | RetrieveConfig, ...]:
    """What members of an ensemble share."""
    data = run.data
    index = run.workdir.digest("retrieval") if data.retrieve.neighbours else ""
    how = data.direction, data.prefix, data.reverse_source, data.placeholders, data.retrieve
    return run.tokenizers.digest, *how, index
