"""``t2c compile``."""

import os
from argparse import ArgumentParser, Namespace

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_result

SUMMARY = "the train step and the search, compiled for a TPU slice that is not here: does it fit, how fast is it"


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    shared.add_run(parser, workdir_required=False)
    help_ = "a TPU slice, such as v5e:16x16 or v5p:4x4x8; 2*v5e:16x16 is two of them"
    parser.add_argument("--topology", metavar="CHIP:AxB", required=True, help=help_)
    parser.add_argument("--search", action="store_true", help="try meshes, batches and remat, and rank what fits")


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status.

    The workdir's tokenizer gives the vocabulary; without one, config.tokenizer.vocab_size does.
    """
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # it runs nothing: accelerators are left to others
    # No cache of compiled programs: one for devices that are not here cannot be loaded again.
    workdir = shared.workdir_of(options) if options.workdir else None
    experiment = shared.experiment_of(options, workdir)
    from t2c_jax.aot.ahead_of_time import compile_for
    from t2c_jax.aot.mesh_search import search
    from t2c_jax.aot.program import Training
    from t2c_jax.models.definition import Definition
    from t2c_jax.tokenizers.loading import Tokenizers
    from t2c_jax.train.setup import trainable_of

    vocab_size = experiment.tokenizer.vocab_size
    if workdir is not None and workdir.tokenizer.is_dir():
        vocab_size = Tokenizers.load(workdir.tokenizer, experiment.data.direction).target.vocab_size
    trainable = trainable_of(experiment, Definition(experiment.model, vocab_size))
    training = Training(trainable, experiment.train, experiment.data, experiment.mesh)
    if options.search:
        print_result(options, search(training, options.topology))
    else:
        print_result(options, compile_for(training, experiment.decode, options.topology))
    return 0
