"""A model whose vocabulary was trimmed at its import, with the whole vocabulary again.

Rows that were kept hold what training made of them. The others hold what the imported model held: training never saw
them, neither as input nor in its softmax, so the model may give them a probability that it was never taught.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from t2c_jax import console
from t2c_jax.data.tasks.translation import translation
from t2c_jax.errors import UserError
from t2c_jax.interop.import_model import FAMILIES, config_of_model, digest_of_model, read_params
from t2c_jax.interop.source_config import model_config
from t2c_jax.interop.trained import Trained
from t2c_jax.interop.vocabulary_rows import rows_put_back, vocabulary_axes
from t2c_jax.interop.weights import Weights
from t2c_jax.tokenizers import huggingface_files
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.tokenizers.trimming import Trimming


@contextmanager
def with_original_vocabulary(model: Trained, directory: Path | None = None) -> Iterator[Trained]:
    """The model with the vocabulary of the one that was imported; the model itself where it was not trimmed.

    Args:
      model: a trained model.
      directory: of the imported model; by default where it was then.

    Raises:
      UserError: the imported model is not there any more, or has changed.
    """
    trimming = Trimming.read(model.tokenizer_files)
    if trimming is None:
        yield model
        return
    source = directory or Path(trimming.model)
    if not source.is_dir():
        raise UserError(
            f"the vocabulary was trimmed, and the imported model is not at '{source}' any more: say where it is with"
            " --original DIR, or export what was kept with --vocabulary trimmed"
        )
    values, weights = config_of_model(source), Weights(source)
    if digest_of_model(source, weights) != trimming.digest:
        raise UserError(f"'{source}' is not the model that was imported: its files have changed; give it by --original")
    family: Any = importlib.import_module(FAMILIES[values["model_type"]])
    whole, _ = read_params(family, model_config(family, values, weights.files.keys()), weights)
    axes = vocabulary_axes(model.config, len(trimming.ids))
    unscaled = model.config.unscaled_id
    config = replace(model.config, unscaled_id=trimming.ids[unscaled]) if unscaled >= 0 else model.config
    params = rows_put_back(model.params, whole, axes, trimming.ids)
    console.say(
        f"the export has all {trimming.rows:,} pieces: {len(trimming.ids):,} as they were trained here, and"
        f" {trimming.rows - len(trimming.ids):,} as they came"
    )
    with TemporaryDirectory() as name:
        huggingface_files.write_tokenizer(source, values, trimming.rows, Path(name))
        tokenizers = Tokenizers.load(Path(name), model.run.data.direction)
        objective = translation(tokenizers, model.run.data)
        model = replace(model, run=replace(model.run, model=config), params=params, objective=objective)
        yield replace(model, tokenizers=tokenizers, tokenizer_files=Path(name))
