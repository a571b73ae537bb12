"""``t2c inspect``."""

from argparse import ArgumentParser, Namespace

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_result

SUMMARY = "the parameters of the model that a config describes, and a workdir's checkpoints"


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    shared.add_run(parser, workdir_required=False)


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    from t2c_jax import runtime

    runtime.keep_compiled()
    workdir = shared.workdir_of(options) if options.workdir else None
    experiment = shared.experiment_of(options, workdir)
    from t2c_jax.commands.parameter_table import inspect

    print_result(options, inspect(experiment, workdir))
    return 0
