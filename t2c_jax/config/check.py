"""Values of different sections that cannot work together, refused before any device is touched.

Rules within one section are checked there (``Section.check``, and the bounds of each field).
"""

from __future__ import annotations

from typing import Any

from t2c_jax.config.architectures import ModelConfig
from t2c_jax.config.fields import check_section
from t2c_jax.config.registry import objectives
from t2c_jax.config.schema import DataConfig, Experiment, LoraConfig, OriginConfig, TrainConfig
from t2c_jax.errors import UserError


def check(experiment: Experiment) -> None:
    """Values that cannot work, whatever the machine; what depends on the devices is ``mesh.check``.

    Raises:
      UserError: naming the keys and what to do.
    """
    check_section(experiment, "config")
    model, data, train = experiment.model, experiment.data, experiment.train
    _check_origin(experiment.origin, experiment.lora, data)
    if train.r_drop and not model.dropout:
        raise UserError("config.train.r_drop compares predictions under different dropout: set model.dropout above 0")
    if experiment.optimizer.name == "schedule_free" and train.ema_decay:
        raise UserError(
            f"config.train.ema_decay={train.ema_decay} and config.optimizer.name=schedule_free both average the"
            " parameters: set config.train.ema_decay=0"
        )
    _check_sides(experiment)
    _check_tasks(model, data, train)
    if data.batch_size % train.microbatches:
        raise UserError(
            f"config.data.batch_size={data.batch_size} is not divisible by"
            f" config.train.microbatches={train.microbatches}"
        )
    if experiment.optimizer.warmup_steps > train.steps:
        raise UserError(
            f"config.optimizer.warmup_steps={experiment.optimizer.warmup_steps} must lie between 0 and"
            f" train.steps={train.steps}"
        )


def _check_origin(origin: OriginConfig, lora: LoraConfig, data: DataConfig) -> None:
    """What other sections ask of the origin."""
    if lora.rank and not (origin.run and "parameters" in origin.take):
        raise UserError(
            f"config.lora.rank={lora.rank} adapts the parameters of another run: set config.origin.run to"
            " its workdir, and keep parameters in config.origin.take"
        )
    if origin.run and "tasks" in origin.take and data.temperature:
        raise UserError(
            "config.origin.replay_share is a share by weights: set config.data.temperature=0, or leave tasks out of"
            " config.origin.take"
        )


def _check_sides(experiment: Experiment) -> None:
    """What the types of encoder and decoder ask of the rest of the config."""
    encoder, data = experiment.model.encoder, experiment.data
    for key, required in encoder.required.items():
        if _value(experiment, key) != required:
            raise UserError(
                f"config.model.encoder={encoder.type} needs config.{key}={required!r}, not {_value(experiment, key)!r}"
            )
    if encoder.own_tokenizer and not experiment.origin.run:
        raise UserError(
            f"config.model.encoder={encoder.type} has a tokenizer and parameters of its own: set config.origin.run to"
            " the workdir that t2c import made of it"
        )
    if data.retrieve.neighbours and encoder.features != "tokens":
        raise UserError(
            f"config.model.encoder={encoder.type} reads no tokens, so no neighbours either; set"
            " config.data.retrieve.neighbours=0"
        )
    longest = encoder.max_source_length
    if longest is not None and data.encoder_length > longest:
        raise UserError(f"config.data.encoder_length={data.encoder_length} exceeds the encoder's {longest} positions")
    longest = experiment.model.decoder.max_target_length
    for key, length in (
        ("data.decoder_length", data.decoder_length),
        ("decode.max_tokens", experiment.decode.max_tokens),
    ):
        if longest is not None and length > longest:
            raise UserError(f"config.{key}={length} exceeds the decoder's {longest} positions")


def output_head(objective: str) -> str:
    """The head over encoder states that an objective trains; empty where it trains the decoder."""
    head: str = objectives.get(objective, "objective").output_head
    return head


def _check_tasks(model: ModelConfig, data: DataConfig, train: TrainConfig) -> None:
    """The mixture, task by task, and the heads that it needs."""
    tasks = data.tasks
    for name, task in tasks.items():
        key = f"config.data.tasks.{name}"
        if (head := output_head(task.objective)) and head not in model.output_heads:
            raise UserError(f"{key} needs a head: add {head!r} to config.model.output_heads")
        if data.placeholders and task.objective == "fill_in_the_middle":
            raise UserError(
                f"{key}: config.data.placeholders=True names the quotes of a text, and code with a gap has no text;"
                " leave one of them out"
            )
        if model.encoder.own_tokenizer or model.encoder.features != "tokens":
            raise UserError(
                f"{key}: config.model.encoder={model.encoder.type} reads texts or trees alone; leave tasks out"
            )
    if tasks and all(task.workdir for task in tasks.values()):
        raise UserError("config.data.tasks: every task reads another workdir; leave one to this run's own corpus")
    if tasks and all(output_head(task.objective) for task in tasks.values()):
        raise UserError(
            "every task in config.data.tasks trains the encoder alone; add one that trains the decoder, such as"
            " span_corruption"
        )
    own = [task for task in tasks.values() if not task.workdir]
    if own and all(output_head(task.objective) for task in own) and (train.patience or train.stop_metric != "loss"):
        raise UserError(
            "config.train.patience and stop_metric go by what is written for this run's own pairs, and no task of"
            " theirs writes: add one, or leave both out"
        )
    asked = {name: task.prefix for name, task in tasks.items() if task.objective == data.direction and not task.workdir}
    if asked and data.prefix not in asked.values():
        raise UserError(
            f"config.data.prefix={data.prefix!r} is put before every prompt, and no task is trained with it:"
            f" set config.data.tasks.{next(iter(asked))}.prefix to it"
        )


def _value(experiment: Experiment, key: str) -> Any:
    value: Any = experiment
    for name in key.split("."):
        value = getattr(value, name)
    return value
