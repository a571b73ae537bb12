"""The model that reads a candidate and says how likely the prompt is: a run's own reverse task, or another run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from t2c_jax.checkpoints.saved_run import SavedRun
from t2c_jax.config import DataConfig, DecodeConfig, MeshConfig, RetrieveConfig
from t2c_jax.data.templates import TargetTemplate
from t2c_jax.decode.generator import Generator, Member
from t2c_jax.decode.loading import inference_mesh, make_generator
from t2c_jax.decode.scorer import Scorer
from t2c_jax.errors import UserError
from t2c_jax.workdir import at_step

_REVERSE = {"text_to_code": "code_to_text", "code_to_text": "text_to_code"}


@dataclass(frozen=True)
class Reviewer:
    """A model of prompts given answers.

    Attributes:
      scorer: scores (answer, prompt) pairs.
      identity: JSON values by which it is recognised: ``run``, empty for the run itself, and ``checkpoint``.
    """

    scorer: Scorer
    identity: dict[str, Any]


def reverse_data(data: DataConfig) -> DataConfig | None:
    """config.data of the task that reads this run's targets and writes its sources; None if there is none.

    Such a task has no neighbours.
    """
    for task in data.tasks.values():
        if task.objective == _REVERSE[data.direction] and not task.workdir:
            direction: Any = task.objective
            return replace(data, direction=direction, prefix=task.prefix, retrieve=RetrieveConfig())
    return None


def load_reviewer(
    run: SavedRun, generator: Generator, decode: DecodeConfig, mesh: MeshConfig, named: str
) -> Reviewer | None:
    """The reviewer of a run's answers.

    Args:
      run: answers prompts.
      generator: has its parameters.
      decode: ``batch_size`` is that of scoring, and ``special_pieces`` says how answers are read.
      mesh: of the devices.
      named: config.rerank.reviewer: another run, or empty for the run itself.

    Returns:
      None where no other run is named, and the run was not trained to write its sources.

    Raises:
      UserError: the other run does not exist, or was not trained to.
    """
    if not named:
        data = reverse_data(run.data)
        if data is None:
            return None
        return _reviewer(run, generator.members, data, decode, generator.mesh, {"run": ""})
    try:
        directory, step = at_step(named)
        theirs = SavedRun.open(directory)
        wanted = _REVERSE[run.data.direction]
        data = theirs.data if theirs.data.direction == wanted else reverse_data(theirs.data)
        if data is None:
            raise UserError(f"it has no task {wanted}, and config.data.direction is another; name a run that has")
        devices = inference_mesh(theirs.definition, mesh)
        step, params = theirs.restore(devices, step)
    except UserError as error:
        raise UserError(f"config.rerank.reviewer={named!r}: {error}") from None
    return _reviewer(theirs, [Member(theirs.definition, params)], data, decode, devices, {"run": named})


def _reviewer(
    run: SavedRun, members: Any, data: DataConfig, decode: DecodeConfig, mesh: Any, identity: dict[str, Any]
) -> Reviewer:
    tokenizers = replace(run.tokenizers, direction=data.direction)
    generator = make_generator(members, tokenizers, data, decode, mesh, run.workdir)
    scorer = Scorer(generator, TargetTemplate.of(tokenizers), answers_are_texts=data.placeholders)
    return Reviewer(scorer, {**identity, "checkpoint": generator.digest() if identity["run"] else ""})
