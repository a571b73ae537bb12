"""``t2c prepare``."""

from argparse import ArgumentParser, Namespace

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_result

SUMMARY = "corpus and tokenizer to tokens"


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    shared.add_run(parser)


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    from t2c_jax.library import run_stages as stages

    print_result(options, shared.run_stage(options, stages.prepare))
    return 0
