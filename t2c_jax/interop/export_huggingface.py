"""A run as a Hugging Face model directory, which ``AutoModelForSeq2SeqLM`` and ``AutoTokenizer`` load as it is."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from t2c_jax import console
from t2c_jax.config import ModelConfig
from t2c_jax.decode.logits_processors import unwritable
from t2c_jax.errors import UserError
from t2c_jax.interop import bart, t5, t5gemma
from t2c_jax.interop.parity import STEPS, Reference, compare, demand, padded, repeated, shifted, upto
from t2c_jax.interop.source_config import model_config
from t2c_jax.interop.tensor_table import read_params
from t2c_jax.interop.tokenizer_json import pad_of, tells_languages, write_tokenizer
from t2c_jax.interop.trained import Trained
from t2c_jax.interop.weights import SINGLE, Weights
from t2c_jax.models.pretrained.config import BartConfig
from t2c_jax.workdir import write_json

QUANTIZATIONS = ("float32",)
LIBRARY = "transformers"


def why_not(model: ModelConfig) -> str | None:
    """One line on what the format cannot hold of this run, or None."""
    return _family(model).why_not(model)


def _family(model: ModelConfig) -> Any:
    """The module of the architecture that holds the model, or comes nearest to it."""
    if isinstance(model.encoder, BartConfig):
        return bart
    return t5gemma if getattr(model.encoder, "sandwich_norms", False) else t5


def write(model: Trained, directory: Path, texts: Sequence[str], quantization: str) -> dict[str, Any]:
    """Writes weights, configs and tokenizer; returns what there is to say of them.

    Args:
      model: what to write.
      directory: an empty one.
      texts: to compare the tokenizers on.
      quantization: float32.
    """
    tokenizer = model.tokenizer
    family = _family(model.config)
    tensors = family.params_to_huggingface(model.config, model.params)
    save_file(tensors, directory / SINGLE, metadata={"format": "pt"})
    ids = {"pad": pad_of(tokenizer), "eos": tokenizer.eos, "start": tokenizer.start}
    kind = {"is_plbart": True} if family is bart and tells_languages(tokenizer) else {}
    values = family.config_to_huggingface(model.config, tokenizer.vocab_size, **ids, **kind)
    write_json(directory / "config.json", values)
    write_json(directory / "generation_config.json", _generation(model, **ids))
    compared, _ = write_tokenizer(model, directory, texts)
    return {"tensors": len(tensors), "tokenizer": compared}


def _generation(model: Trained, *, pad: int, eos: int, start: int) -> dict[str, Any]:
    """The run's search as transformers' generation config.

    Scores are divided by length**length_penalty in both, forbidden tokens make others no likelier in both, and
    ``early_stopping="never"`` is our exact bound. One thing differs: an answer that max_new_tokens cuts competes with
    those that ended, and ours comes behind them.
    """
    decode, config = model.decode, model.config
    values: dict[str, Any] = {
        "do_sample": False,
        "num_beams": decode.beam_size,
        "max_new_tokens": decode.max_tokens,
        "pad_token_id": pad,
        "eos_token_id": eos,
        "decoder_start_token_id": start,
        "suppress_tokens": unwritable(model.tokenizer),
    }
    if decode.beam_size > 1:
        values |= {"length_penalty": decode.length_penalty, "early_stopping": "never"}
    if decode.no_repeat_ngram_size:
        values["no_repeat_ngram_size"] = decode.no_repeat_ngram_size
    if _family(config) is t5 and config.decoder.layers > config.encoder.layers:  # type: ignore[attr-defined]
        values["use_cache"] = False
        console.warn(
            "transformers 5 makes a cache of as many layers as the encoder has, and fails with a deeper decoder; so"
            " generation_config.json says use_cache=false, which is slow"
        )
    return values


def check(model: Trained, directory: Path, expected: Reference, quantization: str) -> dict[str, Any]:
    """Compares the written directory with the run's model.

    With ``transformers`` and ``torch`` installed they do what a user would do: load, tokenize, score, generate.
    Without, the weights are read back under their names and run by our model, which proves the file, not the loading.

    Raises:
      UserError: they are not the same.
    """
    if all(importlib.util.find_spec(name) for name in ("transformers", "torch")):
        found, by = _by_transformers(model, directory, expected), "transformers"
    else:
        found, by = _read_back(model, directory, expected), "reading the weights back"
    demand(found, by)
    return {"by": by, **found}


def _by_transformers(model: Trained, directory: Path, expected: Reference) -> dict[str, Any]:
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    theirs: Any = transformers.AutoModelForSeq2SeqLM.from_pretrained(directory, dtype=torch.float32).eval()
    log_p: list[np.ndarray] = []
    eos, start, pad = model.tokenizer.eos, model.tokenizer.start, pad_of(model.tokenizer)
    source_NS, there_NS = padded(expected.sources, pad)
    read = {"input_ids": torch.from_numpy(source_NS).long(), "attention_mask": torch.from_numpy(there_NS).long()}
    with torch.no_grad():
        for part in (expected.targets[: expected.prompts], expected.greedy):
            fed_NT, _ = padded(shifted(part, start), pad)
            logits = theirs(**read, decoder_input_ids=torch.from_numpy(fed_NT).long()).logits
            log_p_NTV = torch.log_softmax(logits.float(), dim=-1).numpy()
            log_p += [row[: len(target)] for row, target in zip(log_p_NTV, part, strict=True)]
        plain: dict[str, Any] = {"length_penalty": None, "early_stopping": None, "no_repeat_ngram_size": 0}
        plain["suppress_tokens"] = None  # the reference has no logits processors
        answers = theirs.generate(**read, num_beams=1, max_new_tokens=STEPS, **plain)
    greedy = [upto(row[1:], eos) for row in answers.numpy()]
    return {**compare(expected, log_p, greedy), "version": transformers.__version__}


def _read_back(model: Trained, directory: Path, expected: Reference) -> dict[str, Any]:
    values = json.loads((directory / "config.json").read_text("utf-8"))
    family = _family(model.config)
    weights = Weights(directory)
    config = model_config(family, values, weights.shapes)
    params, left = read_params(family.layout(config, weights.shapes), config, weights)
    if left:
        raise UserError(f"the written weights hold a tensor that nothing reads: {min(left)}; please report it")
    return compare(expected, *repeated(config, params, model.tokenizer, expected))


def usage(model: Trained) -> str:
    """Python that loads the directory and answers ``TEXT``."""
    return """
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

directory = "."  # where this file lies
tokenizer = AutoTokenizer.from_pretrained(directory)
model = AutoModelForSeq2SeqLM.from_pretrained(directory)
text = TEXT
answer = model.generate(**tokenizer(text, return_tensors="pt"))
print(tokenizer.decode(answer[0], skip_special_tokens=True))
"""


def differences(model: Trained) -> list[str]:
    """Sentences on how the library's search differs from the run's own."""
    said = [
        "transformers ranks an answer that `max_new_tokens` cuts among those that ended; the run's own search last."
    ]
    if model.decode.idf_weight:
        said.append("The run's own search adds `config.decode.idf_weight` to scores; transformers has no such bonus.")
    return said
