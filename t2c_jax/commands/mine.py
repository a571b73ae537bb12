"""``t2c mine``."""

import functools
import shlex
from argparse import ArgumentParser, Namespace

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_result
from t2c_jax.errors import UserError

SUMMARY = "sources to a corpus of cleaned (text, code) pairs"


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    shared.add_run(parser)
    parser.add_argument(
        "--runner", metavar="NAME", help="mine in Apache Beam: DirectRunner, FlinkRunner … (docs/data.md)"
    )
    parser.add_argument(
        "--beam", metavar="OPTIONS", default="", help="options of the runner, as '--flink_master=host:8081'"
    )


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    from t2c_jax.corpus.beam_runner import BeamRunner
    from t2c_jax.library import run_stages as stages

    if options.beam and not options.runner:
        raise UserError("--beam has options of a runner of Apache Beam; name it with --runner")
    runner = BeamRunner(options.runner, tuple(shlex.split(options.beam))) if options.runner else None
    print_result(options, shared.run_stage(options, functools.partial(stages.mine, runner=runner)))
    return 0
