"""Which prompts of a run a benchmark answers. Another commit of the package can import it."""

from __future__ import annotations

import argparse
import itertools


def prompt_options(parser: argparse.ArgumentParser, count: int) -> None:
    """A run, a split, and the number of prompts."""
    parser.add_argument("--workdir", default="runs/quickstart", help="a run's (default: %(default)s)")
    parser.add_argument("--split", help="of the prompts (default: the run's config.evaluate.split)")
    parser.add_argument(
        "--prompts", type=int, default=count, help="how many, from the first; 0 for all (default: %(default)s)"
    )


def prompts_of(options: argparse.Namespace) -> list[str]:
    """The texts."""
    from t2c_jax import config as configs
    from t2c_jax.evaluate.prompt_pairs import prompt_pairs
    from t2c_jax.workdir import Workdir

    workdir = Workdir(options.workdir)
    experiment = configs.load(str(workdir.config))
    pairs = prompt_pairs(workdir, options.split or experiment.evaluate.split, experiment.data.direction)
    return [pair.text for pair in itertools.islice(pairs, options.prompts or None)]
