"""A trained model with all that goes with it into another format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jax

from t2c_jax.checkpoints.saved_run import SavedRun
from t2c_jax.config import DataConfig, DecodeConfig, MeshConfig, ModelConfig
from t2c_jax.data.tasks.translation import Translation, translation
from t2c_jax.decode.loading import inference_mesh
from t2c_jax.models.definition import Params
from t2c_jax.models.pretrained.config import BartConfig
from t2c_jax.models.transformer.config import T5Config, TransformerConfig
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.tokenizers.loading import Tokenizers


@dataclass(frozen=True)
class Trained:
    """A checkpoint of a run, or the mean of several.

    Attributes:
      run: where it was trained.
      decode: the run's own search.
      text: config.corpus.text, what the texts of its pairs consist of.
      stop_metric: config.train.stop_metric, by which the run chose its best checkpoint.
      step: of the checkpoint, the last one of several.
      average: the number of checkpoints whose mean the parameters are.
      params: float32 arrays on the host.
      objective: what surrounds its sources and targets.
      tokenizers: one model for both sides; ``why_not`` of the formats refuses two.
      tokenizer_files: its directory.
    """

    run: SavedRun
    decode: DecodeConfig
    text: str
    stop_metric: str
    step: int
    average: int
    params: Params
    objective: Translation
    tokenizers: Tokenizers
    tokenizer_files: Path

    @property
    def config(self) -> ModelConfig:
        """The model's section."""
        return self.run.model

    @property
    def tokenizer(self) -> Tokenizer:
        """The one that writes targets."""
        return self.tokenizers.target


def load_trained(
    run: SavedRun,
    decode: DecodeConfig,
    mesh: MeshConfig,
    step: int | None = None,
    average: int = 1,
    *,
    text: str,
    stop_metric: str,
) -> Trained:
    """A checkpoint, the best one by default, on the host; ``Trained`` has the arguments, ``mesh`` is to read it on.

    Raises:
      UserError: there is no such checkpoint, or it is of another model or tokenizer.
    """
    step, params = run.restore(inference_mesh(run.definition, mesh), step, average)
    objective = translation(run.tokenizers, run.data)
    return Trained(
        run,
        decode,
        text,
        stop_metric,
        step,
        average,
        jax.device_get(params),
        objective,
        run.tokenizers,
        run.workdir.tokenizer,
    )


def why_not(model: ModelConfig, data: DataConfig) -> str | None:
    """One line on what no format here can hold of this run, or None."""
    for side, other in (("encoder", model.decoder), ("decoder", model.encoder)):
        if not isinstance(section := getattr(model, side), (TransformerConfig, T5Config, BartConfig)):
            return f"config.model.{side}={section.type} cannot be exported; transformer, t5 and bart can"
        if isinstance(section, BartConfig) and not isinstance(other, BartConfig):
            return f"config.model.{side}=bart can be exported with the other side of BART alone"
    if model.copy:
        return "config.model.copy=True cannot be exported: other engines have no copying head; train with copy=False"
    if data.retrieve.neighbours:
        return (
            f"config.data.retrieve.neighbours={data.retrieve.neighbours} cannot be exported: the model reads training"
            " pairs behind every prompt, and other engines have no index; train with neighbours=0"
        )
    if data.placeholders:
        return "config.data.placeholders=True cannot be exported: other engines do not name the quotes of a prompt"
    if data.reverse_source:
        return "config.data.reverse_source=True cannot be exported: other tokenizers read forwards only"
    return None
