"""The experiment: every knob once, typed, with its unit and reason.

The dataclasses below are the schema. ``configs/*.py`` derive an ``ml_collections.ConfigDict`` from them
(``to_config_dict(Experiment())``) and change a few values; ``load`` reads such a file, applies the
``--config.x.y=value`` overrides of the command line and checks the result. Whatever is wrong is a
``UserError`` before any device is touched.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import json
import math
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from t2c_jax.errors import UserError, nearest

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def knob(default: Any, doc: str) -> Any:
    """A config field with its meaning; ``doc`` gives the unit and, where it is not obvious, the reason."""
    return dataclasses.field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class CorpusConfig:
    """Sources to cleaned (text, code) pairs."""

    sources: tuple[str, ...] = knob(
        ("python:stdlib",),
        "What to mine: a directory or git checkout, a .jsonl/.jsonl.gz of {text, code}, tfds:NAME, or python:stdlib.",
    )
    text: Literal["summary", "docstring", "signature+summary", "signature+docstring"] = knob(
        "signature+docstring",
        "The text of a mined pair: the docstring's first paragraph or all of its prose, with or without the signature.",
    )
    kinds: tuple[str, ...] = knob(
        ("function", "method", "class", "markdown"), "Which kinds of pairs to keep from mined sources."
    )
    exclude: tuple[str, ...] = knob(
        ("**/.git/**", "**/node_modules/**", "**/__pycache__/**", "**/site-packages/**", "**/.venv/**"),
        "Glob patterns, relative to each source's root, of files that are not read.",
    )
    max_file_bytes: int = knob(1_000_000, "Bytes; larger files are mostly generated or data and are left out.")
    min_text_chars: int = knob(10, "Characters; shorter texts say nothing about the code.")
    max_text_chars: int = knob(2_000, "Characters of text; longer pairs are left out, never cut.")
    min_code_chars: int = knob(20, "Characters of code.")
    max_code_chars: int = knob(4_000, "Characters of code; longer pairs are left out, never cut.")
    max_line_chars: int = knob(400, "Characters; a longer line marks minified code or embedded data.")
    min_alphanumeric_share: float = knob(0.25, "Share of letters and digits in the code; below it lies data.")
    dev_share: float = knob(0.05, "Share of groups in the dev split, where the lines name no split.")
    test_share: float = knob(0.05, "Share of groups in the test split, where the lines name no split.")
    max_malformed_share: float = knob(0.01, "Share of unreadable lines past which a source fails the stage.")


@dataclass(frozen=True)
class TokenizerConfig:
    """SentencePiece with identity normalisation, byte fallback and whitespace kept."""

    vocab_size: int = knob(8192, "Pieces, specials and sentinels counted in.")
    model_type: Literal["unigram", "bpe"] = knob("bpe", "SentencePiece's algorithm; bpe trains faster on code.")
    sentinels: int = knob(100, "Sentinel pieces reserved for span corruption.")
    max_sentences: int = knob(400_000, "Texts and codes, drawn evenly, that the tokenizer is trained on.")


@dataclass(frozen=True)
class DataConfig:
    """Tokenised pairs to packed batches."""

    encoder_length: int = knob(224, "Tokens in an encoder row.")
    decoder_length: int = knob(512, "Tokens in a decoder row.")
    batch_size: int = knob(16, "Rows in the global batch; divisible by microbatches x data x fsdp.")
    pack: bool = knob(True, "Put several pairs in one row, kept apart by segment ids.")
    packing_pool: int = knob(4096, "Pairs among which the packer looks for the next fit; more pack tighter.")
    prefix: str = knob("", "Task prefix before every text, e.g. 'Generate Python: '.")


@dataclass(frozen=True)
class ModelConfig:
    """The Transformer encoder-decoder."""

    width: int = knob(256, "D: width of the residual stream.")
    encoder_layers: int = knob(4, "Blocks in the encoder.")
    decoder_layers: int = knob(4, "Blocks in the decoder.")
    heads: int = knob(8, "H: attention heads; divisible by the tensor axis.")
    head_width: int = knob(32, "K: width of a head; even under RoPE.")
    feed_forward: int = knob(1024, "F: hidden width of the feed-forward; divisible by the tensor axis.")
    activation: Literal["gated_gelu", "gated_silu", "relu", "gelu"] = knob(
        "gated_gelu", "Feed-forward; gated ones (Shazeer 2020) have two input projections, the others one."
    )
    position: Literal["rope", "t5"] = knob("rope", "Rotary embedding (Su et al. 2021) or T5's learned relative bias.")
    rope_theta: float = knob(10_000.0, "Base of RoPE's wavelengths.")
    relative_buckets: int = knob(32, "Buckets of T5's relative bias.")
    relative_max_distance: int = knob(128, "Tokens beyond which T5's relative bias no longer tells distances apart.")
    scale_attention: bool = knob(True, "Divide attention scores by sqrt(K); T5 does not.")
    tied_embeddings: bool = knob(True, "One table for the encoder's, the decoder's and the output's embedding.")
    scale_tied_output: bool = knob(True, "With a tied table, scale decoder states by 1/sqrt(D) before the logits (T5).")
    dropout: float = knob(0.1, "Share of activations dropped during training.")
    norm_epsilon: float = knob(1e-6, "Added to the mean square in RMSNorm.")
    attention: Literal["auto", "xla", "cudnn"] = knob("auto", "Attention kernel; auto goes by platform.")
    scan: bool = knob(True, "One compiled block, scanned; off, blocks are unrolled: slower to compile, faster on CPU.")
    remat: Literal["none", "dots", "full"] = knob(
        "none", "What the backward pass computes again: nothing, all but matrix products, or whole blocks."
    )
    dtype: Literal["float32", "bfloat16"] = knob("float32", "Compute dtype; parameters are float32 always.")


@dataclass(frozen=True)
class OptimizerConfig:
    """optax: update rule, schedule, clipping."""

    name: Literal["adamw", "adafactor"] = knob("adamw", "Update rule.")
    learning_rate: float = knob(1e-3, "Peak learning rate.")
    schedule: Literal["constant", "cosine", "inverse_sqrt"] = knob("cosine", "After the warm-up.")
    warmup_steps: int = knob(100, "Steps of linear warm-up from zero.")
    end_share: float = knob(0.1, "Cosine's floor as a share of the peak.")
    beta1: float = knob(0.9, "AdamW's first moment decay; Adafactor runs without a first moment.")
    beta2: float = knob(0.98, "AdamW's second moment decay.")
    epsilon: float = knob(1e-8, "AdamW's denominator.")
    weight_decay: float = knob(0.01, "Decoupled; only on the parameters the mask names.")
    decay_mask: str = knob(
        r"^(?!.*\.(scale|table)$)",
        "Regular expression over the parameter paths that decay: all but norm scales and relative biases.",
    )
    clip_norm: float = knob(1.0, "Global gradient norm; 0 turns clipping off.")


@dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    steps: int = knob(1000, "Optimizer steps.")
    microbatches: int = knob(1, "Gradient accumulation: the batch is cut into this many parts.")
    label_smoothing: float = knob(0.0, "Share of the target's mass spread over the vocabulary.")
    z_loss: float = knob(1e-4, "Weight of log(Z)^2 (Chowdhery et al. 2022, section 5).")
    loss_chunk_tokens: int = knob(512, "Tokens whose logits exist at a time, per device.")
    ema_decay: float = knob(0.0, "Decay of the averaged parameters used for evaluation; 0 keeps none.")
    log_every: int = knob(10, "Steps between logged lines.")
    eval_every: int = knob(200, "Steps between measurements of the held-out loss; 0 for the end only.")
    eval_batches: int = knob(16, "Batches of the dev split a measurement reads at most.")
    samples: int = knob(2, "Dev pairs decoded at each measurement, shown as text in TensorBoard.")
    save_every: int = knob(200, "Steps between checkpoints; the last step is always saved.")
    keep: int = knob(2, "Latest checkpoints kept, beside the best by held-out loss.")


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; -1 takes what the others leave."""

    data: int = knob(-1, "Copies of the model, each on its own rows.")
    fsdp: int = knob(1, "Rows and parameters split; parameters gathered as needed.")
    tensor: int = knob(1, "Heads, feed-forward and vocabulary split.")


@dataclass(frozen=True)
class DecodeConfig:
    """Search."""

    beam_size: int = knob(4, "Hypotheses kept; 1 is greedy.")
    length_penalty: float = knob(1.0, "alpha in log p / length**alpha; 0 ranks by log-probability alone.")
    max_tokens: int = knob(256, "Tokens generated at most.")
    batch_size: int = knob(16, "Prompts decoded together.")


@dataclass(frozen=True)
class EvaluateConfig:
    """Scores on held-out pairs."""

    split: Literal["dev", "test"] = knob("test", "Which pairs to score.")
    max_examples: int = knob(0, "Pairs, drawn evenly by id; 0 for all.")
    bootstrap_samples: int = knob(1000, "Resamples behind each standard error.")


@dataclass(frozen=True)
class Experiment:
    """One run, from sources to scores."""

    seed: int = knob(0, "Of everything drawn: splits excepted, which hash names alone.")
    corpus: CorpusConfig = dataclasses.field(default_factory=CorpusConfig)
    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    decode: DecodeConfig = dataclasses.field(default_factory=DecodeConfig)
    evaluate: EvaluateConfig = dataclasses.field(default_factory=EvaluateConfig)


def to_dict(config: Any) -> dict[str, Any]:
    """A (part of an) experiment as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def to_config_dict(experiment: Experiment) -> ConfigDict:
    """The experiment as an ``ml_collections.ConfigDict``, locked and type-safe, for ``configs/*.py`` to change."""
    from ml_collections import ConfigDict

    return ConfigDict(dataclasses.asdict(experiment))


def default() -> ConfigDict:
    """What every ``configs/*.py`` starts from."""
    return to_config_dict(Experiment())


def from_dict(values: Mapping[str, Any] | ConfigDict) -> Experiment:
    """The typed experiment from nested mappings (a ConfigDict, a config.json); unknown keys and wrong types fail."""
    if not isinstance(values, Mapping):
        values = values.to_dict()
    experiment = _build(Experiment, values, "config")
    check(experiment)
    return experiment


def load(path: str, overrides: Sequence[str] = ()) -> Experiment:
    """Reads ``configs/x.py`` (or ``configs/x.py:ARGUMENT``, or a config.json), applies overrides, checks.

    Args:
      path: a Python file with ``get_config()``, or ``get_config(argument)``; or a JSON file of a resolved config.
      overrides: ``a.b=value`` items, values in Python or plain notation (``sources=a,b`` is a tuple of two).

    Raises:
      UserError: missing file, unknown key, wrong type, impossible combination.
    """
    file, _, argument = path.partition(":")
    if not Path(file).is_file():
        raise UserError(f"config file '{file}' does not exist; see configs/ for examples")
    if file.endswith(".json"):
        try:
            values = json.loads(Path(file).read_text("utf-8"))
        except ValueError as error:
            raise UserError(f"config file '{file}' is not JSON: {error}") from None
        if not isinstance(values, dict):
            raise UserError(f"config file '{file}' must hold a JSON object, as a workdir's config.json does")
    else:
        values = _get_config(file, argument)
    for item in overrides:
        _override(values, item)
    return from_dict(values)


def check(experiment: Experiment) -> None:
    """Combinations that cannot work, whatever the machine; what depends on the devices is ``mesh.check``.

    Raises:
      UserError: naming the keys and what would mend them.
    """
    model, data, train, mesh = experiment.model, experiment.data, experiment.train, experiment.mesh
    corpus, optimizer = experiment.corpus, experiment.optimizer
    at_least: dict[int, dict[str, tuple[str, ...]]] = {
        1: {
            "corpus": ("max_file_bytes", "max_text_chars", "max_code_chars", "max_line_chars"),
            "tokenizer": ("max_sentences",),
            "data": ("encoder_length", "decoder_length", "batch_size", "packing_pool"),
            "model": ("width", "encoder_layers", "decoder_layers", "heads", "head_width", "feed_forward"),
            "train": ("steps", "microbatches", "loss_chunk_tokens", "log_every", "eval_batches", "save_every", "keep"),
            "decode": ("beam_size", "max_tokens", "batch_size"),
            "evaluate": ("bootstrap_samples",),
        },
        0: {
            "corpus": ("min_text_chars", "min_code_chars"),
            "tokenizer": ("sentinels",),
            "optimizer": ("warmup_steps", "weight_decay", "clip_norm"),
            "train": ("z_loss", "eval_every", "samples"),
            "decode": ("length_penalty",),
            "evaluate": ("max_examples",),
        },
    }
    for minimum, sections in at_least.items():
        for section, keys in sections.items():
            for key in keys:
                if getattr(getattr(experiment, section), key) < minimum:
                    raise UserError(f"config.{section}.{key} must be at least {minimum}")
    if experiment.seed < 0:
        raise UserError("config.seed must be at least 0")
    for section, key in (("model", "rope_theta"), ("model", "norm_epsilon"), ("optimizer", "epsilon")):
        if getattr(getattr(experiment, section), key) <= 0:
            raise UserError(f"config.{section}.{key} must be above 0")
    shares = {
        "model.dropout": model.dropout,
        "optimizer.beta1": optimizer.beta1,
        "optimizer.beta2": optimizer.beta2,
        "train.label_smoothing": train.label_smoothing,
        "train.ema_decay": train.ema_decay,
        "corpus.dev_share": corpus.dev_share,
        "corpus.test_share": corpus.test_share,
        "corpus.max_malformed_share": corpus.max_malformed_share,
        "corpus.min_alphanumeric_share": corpus.min_alphanumeric_share,
    }
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise UserError(f"config.{name}={share} must lie in [0, 1)")
    if not 0 <= optimizer.end_share <= 1:
        raise UserError(f"config.optimizer.end_share={optimizer.end_share} must lie in [0, 1]")
    for what in ("text", "code"):
        least, most = getattr(corpus, f"min_{what}_chars"), getattr(corpus, f"max_{what}_chars")
        if least > most:
            raise UserError(f"config.corpus.min_{what}_chars={least} exceeds max_{what}_chars={most}")
    try:
        re.compile(optimizer.decay_mask)
    except re.error as error:
        raise UserError(
            f"config.optimizer.decay_mask={optimizer.decay_mask!r} is no regular expression: {error}"
        ) from None
    if corpus.dev_share + corpus.test_share >= 1:
        raise UserError("config.corpus.dev_share + test_share leave nothing to train on; lower them")
    if not corpus.sources:
        raise UserError("config.corpus.sources is empty; name a directory, a .jsonl file, tfds:NAME or python:stdlib")
    if model.position == "rope" and model.head_width % 2:
        raise UserError(f"config.model.head_width={model.head_width} must be even under rope; or set position=t5")
    if data.batch_size % train.microbatches:
        raise UserError(
            f"config.data.batch_size={data.batch_size} is not divisible by"
            f" config.train.microbatches={train.microbatches}"
        )
    if optimizer.learning_rate <= 0:
        raise UserError("config.optimizer.learning_rate must be above 0")
    if optimizer.warmup_steps > train.steps:
        raise UserError(
            f"config.optimizer.warmup_steps={optimizer.warmup_steps} must lie between 0 and train.steps={train.steps}"
        )
    axes = {"data": mesh.data, "fsdp": mesh.fsdp, "tensor": mesh.tensor}
    if sum(size == -1 for size in axes.values()) > 1 or any(size < 1 and size != -1 for size in axes.values()):
        raise UserError(f"config.mesh {axes}: sizes are at least 1, and at most one axis is -1")
    if mesh.tensor > 1:
        for key, size in (("heads", model.heads), ("feed_forward", model.feed_forward)):
            if size % mesh.tensor:
                raise UserError(f"config.model.{key}={size} is not divisible by config.mesh.tensor={mesh.tensor}")
    reserved = 256 + 8 + experiment.tokenizer.sentinels
    if experiment.tokenizer.vocab_size <= reserved:
        raise UserError(
            f"config.tokenizer.vocab_size={experiment.tokenizer.vocab_size} must exceed {reserved}: "
            "bytes, specials and sentinels need that many"
        )


def _get_config(file: str, argument: str) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("t2c_experiment", file)
    if spec is None or spec.loader is None:
        raise UserError(f"config file '{file}' must be a .py file with get_config(), or a .json file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise UserError(f"config file '{file}' has no get_config()")
        config = module.get_config(argument) if argument else module.get_config()
        if not hasattr(config, "to_dict"):
            raise UserError(f"get_config() in '{file}' must return a ConfigDict, not {type(config).__name__}")
        return config.to_dict()
    except UserError:
        raise
    except Exception as error:  # the file is the user's own code: whatever it raises is told in one line
        raise UserError(f"config file '{file}' failed: {type(error).__name__}: {error}") from error


def _override(values: dict[str, Any], item: str) -> None:
    key, separator, text = item.partition("=")
    if not separator:
        raise UserError(f"override '{item}' has no value; write --config.{key}=VALUE")
    *parents, name = key.split(".")
    schema: Any = Experiment
    for depth, parent in enumerate(parents):
        fields = _fields(schema)
        if parent not in fields or not dataclasses.is_dataclass(fields[parent]):
            sections = [name for name, kind in fields.items() if dataclasses.is_dataclass(kind)]
            where = ".".join(["config", *parents[:depth]])
            raise UserError(f"unknown key '{parent}' in {where}{nearest(parent, sections)}")
        schema, values = fields[parent], values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise UserError(f"{'.'.join(['config', *parents[: depth + 1]])} is a section, not {values!r}")
    fields = _fields(schema)
    if name not in fields:
        raise UserError(f"unknown key '{name}' in {'.'.join(['config', *parents])}{nearest(name, fields)}")
    if dataclasses.is_dataclass(fields[name]):
        raise UserError(f"config.{key} is a section; set one of its keys: {', '.join(_fields(fields[name]))}")
    values[name] = _parse(text, fields[name])


def _parse(text: str, kind: Any) -> Any:
    """Text from the command line as a value of ``kind``; what does not parse stays text for ``_convert`` to refuse."""
    if kind is str or typing.get_origin(kind) is Literal:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = text
    if typing.get_origin(kind) is tuple and not text.lstrip().startswith(("(", "[", "'", '"')):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if kind is bool and isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value


def _fields(schema: Any) -> dict[str, Any]:
    return typing.get_type_hints(schema)


def _build(schema: Any, values: Mapping[str, Any], where: str) -> Any:
    fields = _fields(schema)
    arguments = {}
    for key, value in values.items():
        if key not in fields:
            raise UserError(f"unknown key '{key}' in {where}{nearest(key, fields)}")
        kind = fields[key]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                raise UserError(f"{where}.{key} is a section, not {value!r}")
            arguments[key] = _build(kind, value, f"{where}.{key}")
        else:
            arguments[key] = _convert(value, kind, f"{where}.{key}")
    return schema(**arguments)


def _convert(value: Any, kind: Any, where: str) -> Any:
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise UserError(f"{where}={value!r} must be one of {', '.join(choices)}{nearest(str(value), choices)}")
        return value
    if typing.get_origin(kind) is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise UserError(f"{where}={value!r} must be a list of strings")
        return tuple(_convert(item, typing.get_args(kind)[0], where) for item in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise UserError(f"{where}={value!r} must be of type {kind.__name__}")
    if kind is float and not math.isfinite(value):
        raise UserError(f"{where}={value!r} must be a finite number")
    return value
