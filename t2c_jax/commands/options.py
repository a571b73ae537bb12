"""Arguments that several commands share, and what they name."""

from __future__ import annotations

import argparse
import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING

from t2c_jax.errors import UserError

if TYPE_CHECKING:
    from t2c_jax.config import Experiment
    from t2c_jax.library.run_stages import Result, Stage
    from t2c_jax.workdir import Workdir


def add_run(parser: ArgumentParser, *, workdir_required: bool = True) -> None:
    """``--config``, ``--workdir`` and ``--json``, which all commands but ``import`` have."""
    parser.add_argument("--config", metavar="FILE", help="configs/x.py, configs/x.py:ARGUMENT, or the workdir's own")
    add_workdir(parser, required=workdir_required)


def add_workdir(parser: ArgumentParser, *, required: bool = True) -> None:
    """``--workdir`` and ``--json``."""
    parser.add_argument("--workdir", metavar="DIR", required=required, help="the directory of the run")
    parser.add_argument("--json", action="store_true", help="print one JSON document to standard output")


def add_step(parser: ArgumentParser) -> None:
    """``--step``."""
    parser.add_argument("--step", type=int, metavar="N", help="the checkpoint to use instead of the best")


def add_average(parser: ArgumentParser) -> None:
    """``--average``."""
    parser.add_argument(
        "--average",
        type=int,
        default=1,
        metavar="N",
        help="average the parameters of the latest N checkpoints, up to --step",
    )


def add_ensemble(parser: ArgumentParser) -> None:
    """``--with``."""
    parser.add_argument(
        "--with",
        dest="others",
        action="append",
        default=[],
        metavar="DIR[@N]",
        help="average predictions with another run's checkpoint, or @N of this one; may be given several times",
    )


def add_prompts(parser: ArgumentParser) -> None:
    """``--input`` and prompts."""
    parser.add_argument(
        "--input", metavar="FILE", help="a prompt a line, or .jsonl with a 'text' (or 'code'); - is standard input"
    )
    parser.add_argument("text", nargs="*", help="prompts")


def add_answering(parser: ArgumentParser) -> None:
    """The run, its checkpoints and how it samples: what commands that answer prompts have in common."""
    add_run(parser)
    add_step(parser)
    add_ensemble(parser)
    add_average(parser)
    add_sampling(parser)


def add_risk(parser: ArgumentParser) -> None:
    """The flag that accepts the risk of running answers without a sandbox."""
    from t2c_jax.sandbox.ladder import RISK_FLAG

    parser.add_argument(
        RISK_FLAG,
        dest="risk_accepted",
        action="store_true",
        help="let metrics that run answers do so without isolation, where this machine offers none",
    )


def add_sampling(parser: ArgumentParser) -> None:
    """``--samples``, ``--temperature`` and ``--stop``."""
    parser.add_argument("--samples", type=int, metavar="N", help="draw N answers to each prompt; with --temperature")
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="draw tokens, from logits divided by T, instead of a beam search"
    )
    parser.add_argument(
        "--stop", action="append", metavar="TEXT", help="end answers before this text; may be given several times"
    )


def add_evaluations(parser: ArgumentParser) -> None:
    """``RUN RUN...``, ``--split`` and ``--json``: what commands that read evaluations have in common."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="a workdir, or WORKDIR/evaluations/NAME if it has several evaluations"
    )
    parser.add_argument("--split", choices=("dev", "test"), help="of the evaluation, if a workdir has several")
    parser.add_argument("--json", action="store_true", help="print one JSON document to standard output")


def search_overrides(options: argparse.Namespace) -> list[str]:
    """What ``add_sampling``'s options change in the config."""
    from t2c_jax.config import drawing

    named = {name: getattr(options, name) for name in ("samples", "temperature", "stop")}
    settings = {name: value for name, value in named.items() if value is not None}
    overridden = {item.partition("=")[0].removeprefix("decode.") for item in options.overrides}
    return [f"decode.{name}={value}" for name, value in drawing(settings, overridden).items()]


def add_profile(parser: ArgumentParser) -> None:
    """``--profile``."""
    parser.add_argument("--profile", metavar="START:STOP", help="trace these steps, for tensorboard or xprof")


def check_local(option: str, path: str | None) -> None:
    """Refuses a URL where a path of this machine is needed.

    Raises:
      UserError: it is a URL.
    """
    from t2c_jax.workdir.remote import is_remote

    if path is not None and is_remote(path):
        raise UserError(f"{option} '{path}' must be a path of this machine; URLs are for workdirs and sources")


def check_writable(option: str, path: Path) -> None:
    """Checks that a file can be written, before there is something to write.

    Raises:
      UserError: it cannot.
    """
    directory = path.absolute().parent
    if path.is_dir() or not directory.is_dir():
        raise UserError(f"{option} '{path}': name a file in a directory that exists")
    if not os.access(path if path.exists() else directory, os.W_OK):
        raise UserError(f"{option} '{path}' cannot be written; choose another")


def workdir_of(options: argparse.Namespace) -> Workdir:
    """The workdir that is named."""
    from t2c_jax.workdir import Workdir

    return Workdir(options.workdir)


def experiment_of(options: argparse.Namespace, workdir: Workdir | None) -> Experiment:
    """The config that is named, or the workdir's own, with the overrides of the command line.

    Raises:
      UserError: there is none, or it is wrong.
    """
    from t2c_jax.checkpoints.inherit import load

    overrides = [*options.overrides, *(search_overrides(options) if "temperature" in options else ())]
    if options.config:
        return load(options.config, overrides)
    if workdir is None:
        raise UserError(f"t2c {options.command} needs --workdir DIR or --config FILE")
    if not workdir.config.is_file():
        raise UserError(f"'{workdir.name}' holds no run yet; add --config FILE (see configs/)")
    return load(str(workdir.config), overrides)


def connected(options: argparse.Namespace, *, writes: bool = False) -> tuple[Experiment, Workdir]:
    """The run, in a process that has joined the other processes of it.

    Args:
      options: the parsed command line.
      writes: the command runs stages.
    """
    from t2c_jax import runtime
    from t2c_jax.library.run_stages import check_imported

    runtime.keep_compiled()
    workdir = workdir_of(options)
    check_imported(workdir, writes)
    experiment = experiment_of(options, workdir)
    runtime.connect()
    return experiment, workdir


def run_stage(options: argparse.Namespace, stage: Stage, *, trains: bool = False) -> Result:
    """Runs a stage, or several, and writes the config beside what they make."""
    from t2c_jax.library import run_stages as stages

    experiment, workdir = connected(options, writes=True)
    with stages.writing(experiment, workdir, trains=trains):
        return stage(experiment, workdir)


def profile_of(options: argparse.Namespace) -> range | None:
    """``--profile START:STOP`` as steps, START included and STOP not; the first step is 1.

    Raises:
      UserError: it has another form, or names no step.
    """
    if not options.profile:
        return None
    start, separator, stop = options.profile.partition(":")
    if not (separator and start.isdecimal() and stop.isdecimal() and 1 <= int(start) < int(stop)):
        raise UserError(f"--profile {options.profile}: write START:STOP, such as 10:15 for the steps 10 to 14")
    return range(int(start), int(stop))


def prompts_of(options: argparse.Namespace, key: str) -> list[str]:
    """The prompts on the command line, in a file, or on standard input.

    Args:
      options: the parsed command line.
      key: of the objects in a ``.jsonl`` file.

    Raises:
      UserError: there are none, or they cannot be read.
    """
    from t2c_jax import runtime
    from t2c_jax.decode.prompts import read_prompts

    if options.text and options.input:
        raise UserError("give prompts either on the command line or with --input, not both")
    if options.text:
        try:
            "".join(options.text).encode("utf-8")
        except UnicodeEncodeError:
            raise UserError("a prompt on the command line is not UTF-8") from None
        return list(options.text)
    if options.input is None and runtime.is_primary() and (sys.stdin is None or sys.stdin.isatty()):
        raise UserError(
            f'no prompt; write t2c {options.command} --workdir DIR "what the code should do", or --input FILE'
        )
    return read_prompts(options.input or "-", key)
