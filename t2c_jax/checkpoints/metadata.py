"""Checkpoint metadata: what a checkpoint and the run that reads it must agree on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t2c_jax import config as configs
from t2c_jax.config import LoraConfig, ModelConfig
from t2c_jax.config.differences import differences

_OTHER = {
    "tokenizer": "it has another tokenizer",
    "base": "its adapters were trained over other parameters than those of config.origin",
}


def metadata(model: ModelConfig, tokenizer: str, lora: LoraConfig | None = None, base: str = "") -> dict[str, Any]:
    """The model, the tokenizer, and of adapters their settings and their base, as plain JSON values.

    How the model is computed (kernels, scan, remat, dtype, dropout) is left out: a run may change it.

    Args:
      model: the run's.
      tokenizer: the digest of its tokenizers.
      lora: its adapters, if any.
      base: under adapters, ``Origin.identity`` of the run whose parameters they adapt.
    """
    return {"model": configs.compared(model), "tokenizer": tokenizer, **adapter_metadata(lora, base)}


def adapter_metadata(lora: LoraConfig | None, base: str) -> dict[str, Any]:
    """The part of ``metadata`` that is about adapters; empty for a run without."""
    if lora is None or not lora.rank:
        return {}
    return {"lora": configs.compared(lora), "base": base}


def mismatch(ours: Mapping[str, Any], stored: Mapping[str, Any]) -> str | None:
    """The first thing that a run and a checkpoint disagree on, in words; None where they agree.

    A field that did not exist when the checkpoint was written is no difference by itself (``config.filled``).
    """
    theirs = dict(stored)
    for name, section in (("model", ModelConfig), ("lora", LoraConfig)):
        if isinstance(part := stored.get(name), Mapping):
            theirs[name] = configs.filled(section, part, execution=False)
    for path, here, there in differences(ours, theirs):
        return _OTHER.get(path, f"config.{path} is {here!r} here and {there!r} in the checkpoint")
    return None
