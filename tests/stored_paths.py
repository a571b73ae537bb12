"""Paths of code in memory, as the tokens stage stores them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from t2c_jax.data.ragged import RaggedArray
from t2c_jax.papers.code2seq.config import PathsConfig
from t2c_jax.papers.code2seq.features import PathFeatures


def stored(codes: Sequence[str], tokenizer: Any, config: PathsConfig) -> dict[str, Any]:
    """The arguments of ``Tokens.of`` that bring the paths of each code."""
    features = PathFeatures(config)
    items, _ = features.encode(codes, tokenizer)
    columns = {name: RaggedArray.of(arrays, np.uint32) for name, arrays in items.items()}
    return {"columns": columns, "features": features.stored_settings}
