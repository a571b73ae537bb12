"""``t2c train``."""

from __future__ import annotations

import shlex
import signal
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import fail, print_result

if TYPE_CHECKING:
    from t2c_jax.config import Experiment
    from t2c_jax.workdir import Workdir

SUMMARY = "tokens to checkpoints; resumes from the last one"


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    shared.add_run(parser)
    shared.add_profile(parser)
    shared.add_risk(parser)


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    from t2c_jax.library import run_stages as stages

    profile = shared.profile_of(options)

    def stage(experiment: Experiment, workdir: Workdir) -> stages.Result:
        return asdict(stages.train(experiment, workdir, profile, risk_accepted=options.risk_accepted))

    result = shared.run_stage(options, stage, trains=True)
    print_result(options, result)
    return status_of(options, result)


def status_of(options: Namespace, trained: dict[str, Any]) -> int:
    """The exit status of a training run: 128 + n if signal n ended it before its last step."""
    stopped_by = trained.get("stopped_by")
    if stopped_by is None:
        return 0
    command = f"t2c {options.command} --workdir {shlex.quote(options.workdir)}"
    return fail(f"saved at step {trained['steps']}; resume with: {command}", 128 + signal.Signals(stopped_by))
