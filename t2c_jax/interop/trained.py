"""A trained model with all that goes with it into another format."""

from __future__ import annotations

from dataclasses import dataclass

import jax

from t2c_jax.config import Experiment, ModelConfig
from t2c_jax.data.tasks.translation import Translation, translation
from t2c_jax.decode.loading import load_generator
from t2c_jax.models.definition import Params
from t2c_jax.models.transformer.config import T5Config, TransformerConfig
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.workdir import Workdir


@dataclass(frozen=True)
class Trained:
    """A checkpoint of a run, or the mean of several.

    Attributes:
      experiment: the run's config.
      workdir: where it lies.
      step: of the checkpoint, the last one of several.
      average: how many checkpoints' mean the parameters are.
      params: float32 arrays on the host.
      tokenizers: the run's.
      objective: what surrounds its sources and targets.
    """

    experiment: Experiment
    workdir: Workdir
    step: int
    average: int
    params: Params
    tokenizers: Tokenizers
    objective: Translation

    @property
    def config(self) -> ModelConfig:
        """The model's section."""
        return self.experiment.model

    @property
    def tokenizer(self) -> Tokenizer:
        """The one for both sides; ``why_not`` of the formats refuses models with two."""
        return self.tokenizers.target


def load_trained(experiment: Experiment, workdir: Workdir, step: int | None = None, average: int = 1) -> Trained:
    """A checkpoint, the best one by default, on the host; ``average`` as in ``decode.load``.

    Raises:
      UserError: there is no such checkpoint, or it is of another model or tokenizer.
    """
    named, generator = load_generator(experiment, workdir, step, average=average)
    tokenizers = Tokenizers.load(workdir.tokenizer, experiment.data.direction)
    objective = translation(tokenizers, experiment.data)
    params = jax.device_get(generator.params[0])
    return Trained(experiment, workdir, int(named[0]), average, params, tokenizers, objective)


def why_not(experiment: Experiment) -> str | None:
    """One line on what no format here can hold of this run, or None."""
    model = experiment.model
    for side in ("encoder", "decoder"):
        if not isinstance(section := getattr(model, side), (TransformerConfig, T5Config)):
            return f"config.model.{side}={section.type} cannot be exported; transformer and t5 can"
    if model.copy:
        return "config.model.copy=True cannot be exported: other engines have no copying head; train with copy=False"
    if experiment.data.reverse_source:
        return "config.data.reverse_source=True cannot be exported: other tokenizers read forwards only"
    return None
