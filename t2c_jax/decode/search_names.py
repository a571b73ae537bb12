"""Names of what answers and of how it searches; they suit directories."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from t2c_jax.config import DecodeConfig
from t2c_jax.decode.grammar.grammar_sources import grammar_label
from t2c_jax.workdir import digest


def checkpoint_name(members: Sequence[str], average: int = 1) -> str:
    """The step, and what its parameters or predictions are averaged with, as in ``300-average3``.

    Args:
      members: the names of what answers, as ``load_generator`` returns them.
      average: how many checkpoints' parameters are averaged.
    """
    parts = [members[0]]
    if average > 1:
        parts.append(f"average{average}")
    if len(members) > 1:
        parts.append(f"with{digest(*members)[:8]}")
    return "-".join(parts)


_ANSWERS_DO_NOT_DEPEND_ON = ("batch_size", "prompt_lookup")
_WORDS = {
    "beam_groups": "groups",
    "diversity_penalty": "diversity",
    "top_k": "topk",
    "top_p": "topp",
    "min_p": "minp",
    "repetition_penalty": "repetition",
    "idf_weight": "idf",
    "no_repeat_ngram_size": "ngram",
    "special_pieces": "specials",
}
"""What a setting is called in a name, where it is not its field."""


def search_name(decode: DecodeConfig) -> str:
    """The settings of a search on which answers depend, as in ``samples5-temperature0.8-penalty1-tokens256``.

    The kind of search, the length penalty and the maximum length come first, then every other setting that is not the
    default.
    """
    if decode.temperature:
        kind = f"samples{decode.samples}-temperature{_written(decode.temperature)}"
    else:
        kind = "greedy" if decode.beam_size == 1 else f"beam{decode.beam_size}"
    parts = [kind, f"penalty{_written(decode.length_penalty)}", f"tokens{decode.max_tokens}"]
    named = {*_ANSWERS_DO_NOT_DEPEND_ON, "beam_size", "temperature", "samples", "length_penalty", "max_tokens"}
    default = DecodeConfig()
    for field in dataclasses.fields(DecodeConfig):
        value = getattr(decode, field.name)
        if field.name in named or value == getattr(default, field.name):
            continue
        written = f"_{grammar_label(value)}" if field.name == "grammar" else _written(value)
        parts.append(f"{_WORDS.get(field.name, field.name)}{written}")
    return "-".join(parts)


def _written(value: Any) -> str:
    """A setting's value in a name; texts may hold what no file's name does."""
    if isinstance(value, bool):
        return ""
    return digest(*value)[:8] if isinstance(value, tuple) else str(value).removesuffix(".0")
