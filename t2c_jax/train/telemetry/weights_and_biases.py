"""A run's metrics at Weights & Biases, as well as in ``metrics.jsonl``. The package is an extra: ``wandb``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir, digest


def check(project: str) -> None:
    """Fails before any work where config.train.wandb names a project and the package is missing.

    Raises:
      UserError: it is not installed.
    """
    if not project:
        return
    try:
        importlib.import_module("wandb")
    except ImportError as error:
        raise UserError(
            f"config.train.wandb={project} logs to Weights & Biases, and its package is not installed: pip install"
            " 't2c-jax[wandb]', or set config.train.wandb to an empty string"
        ) from error


class WandbRun:
    """The workdir's run at Weights & Biases, which every process that trains in the workdir continues."""

    def __init__(self, project: str, config: Mapping[str, Any], workdir: Workdir) -> None:
        """Opens the run. How it reaches its server, or works without one, is up to wandb's environment (WANDB_MODE)."""
        import wandb

        path = str(workdir.path.absolute())
        identity = path if workdir.remote is None else workdir.remote.url  # the same on every machine
        self._run: Any = wandb.init(
            project=project, name=workdir.title, id=digest(identity), resume="allow", dir=path, config=dict(config)
        )
        # By the training step: wandb's own counter only grows, and a resumed run repeats some steps.
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Under the same names as in TensorBoard."""
        self._run.log({"step": step, **{f"{kind}/{name}": value for name, value in values.items()}})

    def close(self) -> None:
        """Waits until everything is sent."""
        self._run.finish()
