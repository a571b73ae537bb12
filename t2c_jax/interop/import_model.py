"""A Hugging Face model directory to a workdir: config, tokenizer and parameters, from which runs start.

T5 and its kin (v1.1, FLAN, CodeT5, CodeT5+ up to 770M), T5Gemma and T5Gemma 2, BART and PLBART become whole models,
which answer at once; BERT, RoBERTa, CodeBERT, ModernBERT, Ettin and GPT-2 become encoders, which a run joins to a
decoder of its own (config.origin). Every tensor must have a parameter and every parameter a tensor, or the import
fails.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from etils import epath

from t2c_jax import config as configs
from t2c_jax import console, runtime
from t2c_jax.checkpoints.checkpoint import save_params
from t2c_jax.checkpoints.metadata import metadata
from t2c_jax.config import ModelConfig
from t2c_jax.errors import UserError, nearest
from t2c_jax.interop import tensor_table
from t2c_jax.interop.source_config import Family, model_config
from t2c_jax.interop.vocabulary_rows import fewer_rows, vocabulary_axes, with_pieces
from t2c_jax.interop.weights import INDEX, SINGLE, Weights
from t2c_jax.models.definition import count
from t2c_jax.tokenizers import huggingface_files as tokenizers_in
from t2c_jax.tokenizers.huggingface_files import read_json
from t2c_jax.tokenizers.trimming import Trimming, kept_ids, trim, used_ids, write_trimming
from t2c_jax.workdir import Workdir, digest

# config.json's model_type, and the module that is its source_config.Family.
FAMILIES: Mapping[str, str] = {
    "t5": "t2c_jax.interop.t5",
    "mt5": "t2c_jax.interop.t5",
    "bert": "t2c_jax.interop.bert",
    "roberta": "t2c_jax.interop.bert",
    "gpt2": "t2c_jax.interop.gpt2",
    "modernbert": "t2c_jax.interop.modernbert",
    "bart": "t2c_jax.interop.bart",
    "plbart": "t2c_jax.interop.bart",
    "t5gemma": "t2c_jax.interop.t5gemma",
    "t5gemma2": "t2c_jax.interop.t5gemma",
}


def import_model(source: Path, workdir: Workdir, texts: Iterable[str] | None = None) -> dict[str, Any]:
    """Writes ``config.json``, ``tokenizer/`` and ``checkpoints/0`` of a model; does nothing where they exist already.

    Args:
      source: a model directory as ``save_pretrained`` writes it, its weights in safetensors.
      workdir: a new directory, or the one of an earlier import of the same model.
      texts: keep of the vocabulary what these need (``tokenizers.trimming``); None keeps all of it.

    Returns:
      The model's type, parameters, tensors left out, tokenizer and whether it can answer on its own.

    Raises:
      UserError: ``source`` is not such a directory, damaged, or of a model that is not built here; or the workdir
        holds something else.
    """
    values = config_of_model(source)
    family: Any = importlib.import_module(FAMILIES[values["model_type"]])
    weights = Weights(source)
    model = model_config(family, values, weights.files.keys())
    identity = origin = digest_of_model(source, weights)
    if texts is None and _is_imported(workdir, origin):
        return _imported_already(workdir)
    all_rows = rows = _checked_rows(family.layout(model, weights.shapes), values, model, weights)
    whole = not model.encoder.own_tokenizer
    original = model
    trimming = None
    if texts is not None:
        kept = _kept(source, values, rows, texts, model)
        trimming = Trimming(str(source.resolve()), identity, rows, tuple(kept))
        origin = digest(origin, *map(str, kept))
        if _is_imported(workdir, origin):
            return _imported_already(workdir)
        model, rows = with_pieces(model, kept), len(kept)
    config = configs.from_dict(_config_values(model), complete=whole)
    with tempfile.TemporaryDirectory() as name:
        # Before the parameters: making a tokenizer of 256,000 pieces takes as much as a quarter of a small model.
        tokenizer = _write_tokenizer(source, values, all_rows, trimming, Path(name))
        runtime.collect_garbage()
        params, left_out = read_params(family, original, weights)
        if trimming is not None:
            params = fewer_rows(params, vocabulary_axes(original, all_rows), trimming.ids)
        summary = {
            "model_type": values["model_type"],
            "encoder": model.encoder.type,
            "whole_model": whole,
            "parameters": count(params),
            "tensors": len(weights.files),
            "tensors_left_out": left_out,
            "dtypes": sorted({weights.dtypes[name] for name in weights.files}),
            "original_vocab_size": all_rows,
            "vocab_size": rows,
            **tokenizer,
        }

        def build(directory: Path) -> dict[str, Any]:
            shutil.copytree(name, directory, dirs_exist_ok=True)
            return summary

        # Of an import of this model that did not come to its end: anything else there has been refused.
        epath.Path(workdir.checkpoints).rmtree(missing_ok=True)
        counts = workdir.stage("tokenizer", {"model": model}, {"huggingface": origin}, build).manifest["counts"]
    save_params(workdir.checkpoints, metadata(model, counts["digest"]), _moved(params))
    if counts["direction"]:
        config = replace(config, data=replace(config.data, direction=counts["direction"]))
    workdir.save_config(configs.to_dict(config))  # last: it marks the import as complete
    _show(source, workdir, counts)
    return dict(counts)


def _config_values(model: ModelConfig) -> dict[str, Any]:
    """The config of a run of this model: defaults, but for lengths that its tables of positions have no room for."""
    data, decode = configs.DataConfig(), configs.DecodeConfig()
    source = model.encoder.max_source_length or data.encoder_length
    target = model.decoder.max_target_length or max(data.decoder_length, decode.max_tokens)
    lengths = {"encoder_length": min(data.encoder_length, source), "decoder_length": min(data.decoder_length, target)}
    return {
        "model": configs.to_dict(model),
        "data": lengths,
        "decode": {"max_tokens": min(decode.max_tokens, target)},
    }


def _imported_already(workdir: Workdir) -> dict[str, Any]:
    console.say(f"'{workdir.name}' holds this model already")
    return dict(workdir.manifest("tokenizer")["counts"])


def _write_tokenizer(
    source: Path, values: Mapping[str, Any], rows: int, trimming: Trimming | None, directory: Path
) -> dict[str, Any]:
    """Writes the tokenizer's files; returns what the manifest says of it."""
    tokenizer = tokenizers_in.write_tokenizer(source, values, rows, directory)
    if trimming is not None:
        tokenizer = trim(directory, list(trimming.ids))
        write_trimming(directory, trimming)
    return {
        "specials": {name: getattr(tokenizer, name) for name in ("eos", "start", "unk", "pad", "before", "after")},
        "special_pieces": list(tokenizer.special_pieces),
        "direction": tokenizer.direction,
        "digest": tokenizer.digest,
    }


def _kept(source: Path, values: Mapping[str, Any], rows: int, texts: Iterable[str], model: ModelConfig) -> list[int]:
    """The ids of the pieces that texts and the model need."""
    with tempfile.TemporaryDirectory() as name:
        tokenizer = tokenizers_in.write_tokenizer(source, values, rows, Path(name))
        used = used_ids(tokenizer, texts)
        if not used:
            raise UserError("there is no text to trim the vocabulary to")
        return kept_ids(Path(name), used, {model.unscaled_id} - {-1})


def config_of_model(source: Path) -> dict[str, Any]:
    """The content of a model directory's config.json.

    Raises:
      UserError: there is none, or its architecture is not one of ``FAMILIES``.
    """
    if not source.is_dir():
        raise UserError(
            f"'{source}' is no directory; --from wants a model that is downloaded already, nothing is fetched"
        )
    values = read_json(source / "config.json", required=True)
    kind = values.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        hint = nearest(kind, FAMILIES) if isinstance(kind, str) else ""
        raise UserError(
            f"'{source / 'config.json'}': model_type={kind!r} cannot be imported; {', '.join(FAMILIES)} can{hint}"
        )
    return values


def digest_of_model(source: Path, weights: Weights) -> str:
    """Over all files of a model directory that an import reads."""
    names = ["config.json", SINGLE, INDEX, *tokenizers_in.FILES]
    paths = {source / name for name in names if (source / name).is_file()} | set(weights.files.values())
    return digest(*(part for path in sorted(paths) for part in (path.name, path)))


def _is_imported(workdir: Workdir, origin: str) -> bool:
    """Whether the workdir holds this very import; a UserError where it holds another thing."""
    made_of: Mapping[str, str] = {}
    with contextlib.suppress(UserError):
        made_of = workdir.manifest("tokenizer")["inputs"]
    ours = made_of.get("huggingface") == origin
    another = workdir.config.exists() or ("huggingface" not in made_of and made_of)
    if workdir.corpus.exists() or (another and not ours):
        raise UserError(f"workdir '{workdir.name}' holds another run or model; choose another --workdir")
    if not ours and _holds_anything(workdir.checkpoints):
        raise UserError(
            f"'{workdir.checkpoints}' holds what no import of this model has written; choose another --workdir"
        )
    return workdir.config.exists() and (workdir.checkpoints / "0").is_dir()


def _holds_anything(directory: Path) -> bool:
    return directory.exists() and (not directory.is_dir() or any(directory.iterdir()))


def read_params(family: Family, model: ModelConfig, weights: Weights) -> tuple[dict[str, Any], list[str]]:
    """The parameters as float32, and the names of the tensors that have no place here.

    Raises:
      UserError: a tensor is missing, has another shape, or is not known.
    """
    try:
        params, left = tensor_table.read_params(family.layout(model, weights.shapes), model, weights)
    except MemoryError:
        raise UserError("a model as large as its weights, in float32, does not fit into memory") from None
    left_out = sorted(name for name in left if re.search(family.IGNORED, name))
    if unread := sorted(left.difference(left_out)):
        raise UserError(f"tensors without a place in a model of this config.json: {_listed(unread)}")
    return params, left_out


def _checked_rows(layout: tensor_table.Layout, values: Mapping[str, Any], model: ModelConfig, weights: Weights) -> int:
    """Rows of the table of words, once all sizes in config.json are those of the weights."""
    rows = tensor_table.rows_of(layout, weights)
    for key, said in _vocabulary_sizes(values):
        if said != rows:
            raise UserError(f"config.json: {key}={said!r}, yet the embedding has {rows} rows")
    tensor_table.checked(layout, model, weights)
    return rows


def _vocabulary_sizes(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Each place of a config.json that says how many rows the table of words has."""
    if values.get("vocab_size") is not None:
        yield f"{path}vocab_size", values["vocab_size"]
    for name in ("encoder", "decoder", "text_config"):
        if isinstance(values.get(name), Mapping):
            yield from _vocabulary_sizes(values[name], f"{path}{name}.")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _grouped(names: Sequence[str]) -> str:
    """A few names as they are; many, such as those of an image encoder, by what they begin with, and counted."""
    if len(names) <= 5:
        return ", ".join(names)
    parts = ([*itertools.takewhile(lambda part: not part.isdigit(), name.split("."))] for name in names)
    counted = Counter(".".join(begin[:3]) for begin in parts)
    return ", ".join(f"{begin} ({number:,})" for begin, number in counted.items())


def _moved(params: Any) -> Any:
    """The parameters as arrays of ``jax``, on a CPU without a copy where they are aligned, else one copied at a time.

    ``params`` is emptied, so that none exists twice.
    """
    moved = {}
    for name in list(params):
        value = params.pop(name)
        moved[name] = (
            _moved(value) if isinstance(value, dict) else jax.block_until_ready(jax.device_put(value, may_alias=True))
        )
        del value
    return moved


def _show(source: Path, workdir: Workdir, counts: Mapping[str, Any]) -> None:
    left_out: list[str] = counts["tensors_left_out"]
    specials = [f"{name} {_ids(ids)}" for name, ids in counts["specials"].items() if ids not in ((), [], -1)]
    rows = [
        ("from", str(source)),
        ("model type", counts["model_type"]),
        ("parameters", f"{counts['parameters']:,}"),
        ("tensors", f"{counts['tensors']:,} ({', '.join(counts['dtypes'])})"),
        ("left out", _grouped(left_out) or "-"),
        ("pieces", _pieces(counts)),
        ("special ids", ", ".join(specials)),
    ]
    console.table(f"t2c import: {workdir.name}", ("", "value"), rows)
    if pieces := counts["special_pieces"]:
        listed = ", ".join(map(repr, pieces[:5])) + (f" and {len(pieces) - 5} more" if len(pieces) > 5 else "")
        console.say(
            f"the tokenizer has special pieces ({listed}): in texts they are read as characters, and so they are in"
            " prompts unless config.decode.special_pieces=True"
        )
    console.say("next:")
    if counts["whole_model"]:
        console.say(f"  t2c generate --workdir {workdir.name} 'Return True if the name is valid.'")
        config = workdir.config
    else:
        config = Path(f"configs/pretrained_encoder.py:{counts['encoder']}")
    console.say(f"  t2c run --config {config} --config.origin.run={workdir.name} --workdir runs/NEW")


def _pieces(counts: Mapping[str, Any]) -> str:
    kept, all_ = counts["vocab_size"], counts["original_vocab_size"]
    return f"{kept:,}" if kept == all_ else f"{kept:,} of {all_:,}, which the texts need"


def _ids(value: Any) -> str:
    return str(value) if isinstance(value, int) else " ".join(map(str, value))
