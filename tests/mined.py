"""A workdir of one's own pairs, as far as the tokenizer, without a corpus on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2c_jax.config import TokenizerConfig
from t2c_jax.tokenizers.stage import build_tokenizer
from t2c_jax.workdir import Workdir, write_json

TOKENIZER = TokenizerConfig(vocab_size=420, sentinels=10)


@dataclass
class Pair:
    """As much of a pair as the stages behind mining read."""

    id: str
    text: str
    code: str
    language: str = "python"


def with_tokenizer(
    directory: Path,
    splits: Mapping[str, Sequence[Any]],
    settings: TokenizerConfig = TOKENIZER,
    direction: str = "text_to_code",
) -> Workdir:
    """A workdir whose tokenizer was trained on these splits' pairs; later stages are given the pairs too."""
    workdir = Workdir(directory)
    workdir.corpus.mkdir()
    write_json(workdir.corpus / "manifest.json", {"stage": "corpus"})
    build_tokenizer(settings, direction, workdir, splits.__getitem__)
    return workdir
