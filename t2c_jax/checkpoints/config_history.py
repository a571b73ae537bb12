"""The config of a run beside its checkpoints: what changes from which step on, and the configs of the steps before."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from t2c_jax import config as configs
from t2c_jax import console, runtime
from t2c_jax.config import Experiment
from t2c_jax.config.differences import differences
from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir, write_json


@contextlib.contextmanager
def saved_config(experiment: Experiment, workdir: Workdir) -> Iterator[None]:
    """Writes the resolved config to the workdir of a run that starts or resumes.

    Where checkpoints were trained under another config, a warning says what changes from which step on, and the former
    config is kept as ``config.STEP.json``, STEP the last one that was trained under it. Where the run is refused, and
    no checkpoint is new, the former config is put back.
    """
    before, steps = workdir.text(workdir.config.name), workdir.checkpoint_steps()
    kept = None
    if runtime.is_primary():
        kept = _keep(experiment, workdir, before, max(steps)) if steps and before else None
        workdir.save_config(configs.to_dict(experiment))
    try:
        yield
    except UserError:
        if runtime.is_primary() and steps and workdir.checkpoint_steps() == steps:
            with contextlib.suppress(ValueError):  # there was none, or a damaged one
                workdir.save_config(json.loads(before))
            if kept is not None:
                (workdir.path / kept).unlink(missing_ok=True)
        raise


def _keep(experiment: Experiment, workdir: Workdir, before: str, step: int) -> str | None:
    """Warns of what changes after ``step``; the name of the file with the former config, if it is new."""
    try:
        former = configs.to_dict(configs.from_stored(json.loads(before), str(workdir.config), complete=False))
    except ValueError:
        return None  # damaged
    changed = differences(configs.to_dict(experiment), former)
    if not changed:
        return None
    name = f"config.{step}.json"
    listed = "; ".join(f"config.{key}={here}, before {there}" for key, here, there in changed)
    console.warn(f"after step {step}: {listed}; the former config is in '{workdir.path / name}'")
    if (workdir.path / name).exists():
        return None  # the one that step was trained under
    write_json(workdir.path / name, json.loads(before))
    return name
