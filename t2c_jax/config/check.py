"""Combinations of values that cannot work, refused before any device is touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from t2c_jax.config.rates import check_pattern, parse_rates
from t2c_jax.config.schema import DECODERS, ENCODERS, METRICS, OBJECTIVES, PRETRAINED, RECURRENT, Experiment
from t2c_jax.errors import UserError, nearest

_AT_LEAST: dict[int, tuple[str, ...]] = {
    4: ("model.relative_buckets",),  # a sign halves them, and half of those hold one distance each
    1: (
        *(f"corpus.{key}" for key in ("max_file_bytes", "max_text_chars", "max_code_chars", "max_line_chars")),
        "tokenizer.max_sentences",
        *(f"data.{key}" for key in ("encoder_length", "decoder_length", "batch_size", "packing_pool", "pairs_in_row")),
        *(f"data.paths.{key}" for key in ("sampled", "stored", "max_length", "max_width", "terminal_tokens")),
        *(f"model.{key}" for key in ("width", "encoder_layers", "decoder_layers", "heads", "head_width")),
        *(f"model.{key}" for key in ("feed_forward", "recurrent.width", "embedding_width")),
        *(f"model.pretrained.{key}" for key in ("vocab_size", "width", "layers", "heads", "feed_forward", "positions")),
        "optimizer.decay_every",
        *(f"train.{key}" for key in ("steps", "microbatches", "loss_chunk_tokens", "log_every", "eval_batches")),
        *(f"train.{key}" for key in ("save_every", "keep", "stop_examples", "most_anomalies")),
        *(f"decode.{key}" for key in ("beam_size", "max_tokens", "batch_size")),
        "evaluate.bootstrap_samples",
    ),
    0: (
        "seed",
        *(f"corpus.{key}" for key in ("min_text_chars", "min_code_chars", "held_out_line_chars")),
        "tokenizer.sentinels",
        *(f"model.{key}" for key in ("uniform_init", "pretrained.first_position", "pretrained.token_types")),
        *(f"optimizer.{key}" for key in ("warmup_steps", "weight_decay", "clip_norm", "decay_start")),
        "data.temperature",
        "lora.rank",
        *(f"train.{key}" for key in ("z_loss", "idf_weight", "eval_every", "samples", "patience", "r_drop")),
        *(f"train.{key}" for key in ("tagging_weight", "contrastive_weight", "rollback_steps", "watchdog_seconds")),
        *(f"decode.{key}" for key in ("length_penalty", "idf_weight", "no_repeat_ngram_size")),
        "evaluate.max_examples",
    ),
}
_ABOVE_ZERO = (
    *(f"model.{key}" for key in ("rope_theta", "norm_epsilon", "pretrained.norm_epsilon")),
    *(f"optimizer.{key}" for key in ("epsilon", "learning_rate", "decay_factor", "layer_decay")),
    "lora.alpha",
    "train.spike_deviations",
)
_SHARES = (
    "model.dropout",
    "optimizer.beta1",
    "optimizer.beta2",
    "lora.dropout",
    "train.label_smoothing",
    "train.ema_decay",
    *(f"corpus.{key}" for key in ("dev_share", "test_share", "max_malformed_share", "min_alphanumeric_share")),
)


def check(experiment: Experiment) -> None:
    """Combinations that cannot work, whatever the machine; what depends on the devices is ``mesh.check``.

    Raises:
      UserError: naming the keys and what would mend them.
    """
    model, data, train, mesh = experiment.model, experiment.data, experiment.train, experiment.mesh
    corpus, optimizer = experiment.corpus, experiment.optimizer
    for minimum, keys in _AT_LEAST.items():
        for key in keys:
            if _value(experiment, key) < minimum:
                raise UserError(f"config.{key} must be at least {minimum}")
    for key in _ABOVE_ZERO:
        if _value(experiment, key) <= 0:
            raise UserError(f"config.{key} must be above 0")
    for key in _SHARES:
        if not 0 <= _value(experiment, key) < 1:
            raise UserError(f"config.{key}={_value(experiment, key)} must lie in [0, 1)")
    if not 0 <= optimizer.end_share <= 1:
        raise UserError(f"config.optimizer.end_share={optimizer.end_share} must lie in [0, 1]")
    for what in ("text", "code"):
        least, most = getattr(corpus, f"min_{what}_chars"), getattr(corpus, f"max_{what}_chars")
        if least > most:
            raise UserError(f"config.corpus.min_{what}_chars={least} exceeds max_{what}_chars={most}")
    check_pattern(optimizer.decay_mask, "config.optimizer.decay_mask")
    parse_rates(optimizer.rates)
    if optimizer.layer_decay > 1:
        raise UserError(f"config.optimizer.layer_decay={optimizer.layer_decay} must lie in (0, 1]")
    check_pattern(experiment.lora.targets, "config.lora.targets")
    if experiment.lora.rank and not experiment.init_from:
        raise UserError(
            f"config.lora.rank={experiment.lora.rank} wants config.init_from, the workdir whose parameters are adapted"
        )
    if corpus.dev_share + corpus.test_share >= 1:
        raise UserError("config.corpus.dev_share + test_share leave nothing to train on; lower them")
    if not corpus.sources:
        raise UserError("config.corpus.sources is empty; name a directory, a .jsonl file, tfds:NAME or python:stdlib")
    if corpus.code == "apis" and corpus.text == "name":
        raise UserError(
            "config.corpus.code=apis reads what documentation says, not names; set config.corpus.text=summary"
        )
    if corpus.code_only and (corpus.text == "name" or corpus.code == "apis"):
        raise UserError(
            "config.corpus.code_only is for code as it is written: set corpus.code=source and another corpus.text than"
            " name"
        )
    if both := [name for name in corpus.held_out if name in corpus.sources]:
        raise UserError(
            f"config.corpus.held_out names '{both[0]}', one of config.corpus.sources; nothing of it is left"
        )
    _check_metrics(experiment.evaluate.metrics)
    if train.stop_metric != "loss" and train.stop_metric not in METRICS:
        hint, known = nearest(train.stop_metric, METRICS), ", ".join(METRICS)
        raise UserError(f"config.train.stop_metric={train.stop_metric!r} must be loss or one of {known}{hint}")
    if train.patience and not train.eval_every:
        raise UserError("config.train.patience counts measurements: set config.train.eval_every above 0")
    if train.r_drop and not model.dropout:
        raise UserError("config.train.r_drop compares predictions under different dropout: set model.dropout above 0")
    _check_model(experiment)
    _check_cudnn(experiment)
    _check_tasks(experiment)
    if model.position == "rope" and model.head_width % 2:
        raise UserError(f"config.model.head_width={model.head_width} must be even under rope; or set position=t5")
    if model.position == "t5" and model.relative_max_distance <= model.relative_buckets // 2:
        raise UserError(
            f"config.model.relative_max_distance={model.relative_max_distance} must exceed half of"
            f" relative_buckets={model.relative_buckets}: so many hold one distance each in a decoder"
        )
    if data.batch_size % train.microbatches:
        raise UserError(
            f"config.data.batch_size={data.batch_size} is not divisible by"
            f" config.train.microbatches={train.microbatches}"
        )
    if optimizer.warmup_steps > train.steps:
        raise UserError(
            f"config.optimizer.warmup_steps={optimizer.warmup_steps} must lie between 0 and train.steps={train.steps}"
        )
    axes = {"data": mesh.data, "fsdp": mesh.fsdp, "tensor": mesh.tensor}
    if sum(size == -1 for size in axes.values()) > 1 or min(axes.values()) < -1 or not mesh.data:
        raise UserError(f"config.mesh {axes}: sizes are at least 1, fsdp and tensor also 0, and at most one is -1")
    if mesh.tensor > 1:
        for key, size in (("heads", model.heads), ("feed_forward", model.feed_forward)):
            if size % mesh.tensor:
                raise UserError(f"config.model.{key}={size} is not divisible by config.mesh.tensor={mesh.tensor}")
    if experiment.from_scratch and (experiment.lora.rank or not experiment.init_from):
        raise UserError(
            "config.from_scratch draws what config.init_from would give: it wants an init_from, and no adapters"
            " (config.lora.rank=0)"
        )
    if experiment.tokenizer.retrain and not experiment.init_from:
        raise UserError("config.tokenizer.retrain wants config.init_from; without one, a tokenizer is trained anyway")
    reserved = 256 + 8 + experiment.tokenizer.sentinels
    if experiment.tokenizer.vocab_size <= reserved:
        raise UserError(
            f"config.tokenizer.vocab_size={experiment.tokenizer.vocab_size} must exceed {reserved}: "
            "bytes, specials and sentinels need that many"
        )


def _check_metrics(names: Sequence[str]) -> None:
    if not names:
        raise UserError(f"config.evaluate.metrics is empty; name some of {', '.join(METRICS)}")
    for position, name in enumerate(names):
        if name not in METRICS:
            known = ", ".join(METRICS)
            raise UserError(f"config.evaluate.metrics: {name!r} is unknown{nearest(name, METRICS)}; known are {known}")
        if name in names[:position]:
            raise UserError(f"config.evaluate.metrics names {name!r} twice")


def _check_model(experiment: Experiment) -> None:
    """The encoder, the decoder, and whether the two go together."""
    model, data = experiment.model, experiment.data
    for key, name, known in (("encoder", model.encoder, ENCODERS), ("decoder", model.decoder, DECODERS)):
        if name not in known:
            raise UserError(f"config.model.{key}={name!r} must be one of {', '.join(known)}{nearest(name, known)}")
    recurrent = model.recurrent
    if model.decoder in RECURRENT and recurrent.bridge == "copy":
        same = model.encoder == model.decoder and model.encoder_layers == model.decoder_layers
        if not same or recurrent.bidirectional:
            raise UserError(
                "config.model.recurrent.bridge=copy wants an encoder of the decoder's kind, with as many layers,"
                " reading one way (bidirectional=False); or set bridge=dense"
            )
    if model.decoder in RECURRENT and recurrent.attention == "none" and recurrent.input_feeding:
        raise UserError("config.model.recurrent.input_feeding wants attention; set input_feeding=False")
    if model.encoder == "paths":
        for key, value, wanted in (
            ("data.pack", data.pack, False),
            ("model.copy", model.copy, False),
            ("data.direction", data.direction, "code_to_text"),
            ("data.prefix", data.prefix, ""),
            ("data.reverse_source", data.reverse_source, False),
        ):
            if value != wanted:
                raise UserError(f"config.model.encoder=paths reads syntax trees: set config.{key}={wanted!r}")
    if model.encoder in PRETRAINED:
        if not experiment.init_from:
            raise UserError(
                f"config.model.encoder={model.encoder} wants config.init_from, the workdir of t2c import, for its"
                " tokenizer and its parameters"
            )
        pretrained = model.pretrained
        if pretrained.width % pretrained.heads:
            raise UserError(
                f"config.model.pretrained.width={pretrained.width} is not divisible by its heads={pretrained.heads}"
            )
        room = pretrained.positions - pretrained.first_position
        if data.encoder_length > room:
            raise UserError(
                f"config.data.encoder_length={data.encoder_length} exceeds the pretrained encoder's {room} positions"
            )
    plain_weights = model.encoder in RECURRENT and model.decoder in RECURRENT
    if model.uniform_init and not plain_weights:
        raise UserError("config.model.uniform_init is for recurrent encoders and decoders; norms start from 1")


def _check_cudnn(experiment: Experiment) -> None:
    """What cuDNN's attention cannot take on any GPU."""
    model = experiment.model
    if model.attention != "cudnn":
        return
    if model.dtype != "bfloat16":
        raise UserError(f"config.model.attention=cudnn wants config.model.dtype=bfloat16, not {model.dtype}")
    widths = {"config.model.head_width": model.head_width}
    if model.encoder in PRETRAINED:
        widths["the pretrained encoder's head width"] = model.pretrained.width // model.pretrained.heads
    for name, width in widths.items():
        if width % 8 or width > 128:
            raise UserError(
                f"config.model.attention=cudnn wants heads whose width is a multiple of 8 and at most 128; {name} is"
                f" {width}: set attention to auto"
            )


HEADS = {"identifier_tagging": "tagging", "contrastive": "embedding"}  # what a task wants of the model


def _check_tasks(experiment: Experiment) -> None:
    """The mixture, task by task, and the heads that it wants."""
    model, tasks = experiment.model, experiment.data.tasks
    for name in model.encoder_heads:
        if name not in HEADS.values():
            known = ", ".join(HEADS.values())
            raise UserError(
                f"config.model.encoder_heads: {name!r} must be one of {known}{nearest(name, HEADS.values())}"
            )
    for name, task in tasks.items():
        key = f"config.data.tasks.{name}"
        if task.objective not in OBJECTIVES:
            known = f"{', '.join(OBJECTIVES)}{nearest(task.objective, OBJECTIVES)}"
            raise UserError(f"{key}.objective={task.objective!r} must be one of {known}")
        if task.weight < 0 or not (task.weight or task.workdir):
            raise UserError(f"{key}.weight={task.weight} must be above 0; leave the task out instead")
        if not 0 < task.noise_density < 1 or task.mean_span < 1:
            raise UserError(f"{key}: noise_density must lie in (0, 1), mean_span must be at least 1")
        if (head := HEADS.get(task.objective)) and head not in model.encoder_heads:
            raise UserError(f"{key} wants a head: add {head!r} to config.model.encoder_heads")
        if model.encoder in (*PRETRAINED, "paths"):
            raise UserError(f"{key}: config.model.encoder={model.encoder} reads texts or trees alone; leave tasks out")
    if tasks and all(task.workdir for task in tasks.values()):
        raise UserError("config.data.tasks: every task reads another workdir; leave one to this run's own corpus")
    if tasks and all(task.objective in HEADS for task in tasks.values()):
        raise UserError("config.data.tasks teaches the decoder nothing; add a task that writes")
    own, train = [task for task in tasks.values() if not task.workdir], experiment.train
    if own and all(task.objective in HEADS for task in own) and (train.patience or train.stop_metric != "loss"):
        raise UserError(
            "config.train.patience and stop_metric go by what is written for this run's own pairs, and no task of"
            " theirs writes: add one, or leave both out"
        )
    data = experiment.data
    asked = {name: task.prefix for name, task in tasks.items() if task.objective == data.direction and not task.workdir}
    if asked and data.prefix not in asked.values():
        raise UserError(
            f"config.data.prefix={data.prefix!r} stands before what is generated and scored, and no task teaches that:"
            f" set config.data.tasks.{next(iter(asked))}.prefix to it"
        )


def _value(experiment: Experiment, key: str) -> Any:
    value: Any = experiment
    for name in key.split("."):
        value = getattr(value, name)
    return value
