"""A run's numbers at Weights & Biases, beside ``metrics.jsonl``. The package is optional: extra ``wandb``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from t2c_jax.config import Experiment, to_dict
from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir, digest


def check(experiment: Experiment) -> None:
    """Fails before any work where the config asks for Weights & Biases and the package is missing.

    Raises:
      UserError: it is not installed.
    """
    if not experiment.train.wandb:
        return
    try:
        importlib.import_module("wandb")
    except ImportError as error:
        raise UserError(
            "config.train.wandb names a project, and wandb is not installed: pip install 't2c-jax[wandb]', or leave it"
            " empty"
        ) from error


class Board:
    """One run there for a workdir, gone on with by every process that trains in it."""

    def __init__(self, experiment: Experiment, workdir: Workdir) -> None:
        """Opens the run; how it reaches its server, or does without one, is wandb's own environment (WANDB_MODE)."""
        import wandb

        where = str(workdir.path.absolute())
        identity = where if workdir.remote is None else workdir.remote.url  # on whichever machine
        self._run: Any = wandb.init(
            project=experiment.train.wandb,
            name=workdir.title,
            id=digest(identity),
            resume="allow",
            dir=where,
            config=to_dict(experiment),
        )
        # By the run's own step: wandb's counter only grows, and a run that was killed repeats some.
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """The same names as in TensorBoard."""
        self._run.log({"step": step, **{f"{kind}/{name}": value for name, value in values.items()}})

    def close(self) -> None:
        """Until everything is handed on."""
        self._run.finish()
