"""``t2c import``."""

import os
from argparse import ArgumentParser, Namespace

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_result
from t2c_jax.errors import UserError

SUMMARY = "a Hugging Face model directory to a workdir, to generate with or to start from"


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument(
        "--from",
        dest="source",
        metavar="DIR",
        required=True,
        help="the directory of the model, or its name in the local Hugging Face cache",
    )
    shared.add_workdir(parser)


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    shared.check_local("--from", options.source)
    if options.overrides:
        raise UserError("t2c import takes no --config: the model has its own shape; set it for the run that uses it")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # it computes nothing: accelerators are left to others
    from t2c_jax import runtime
    from t2c_jax.interop.hub_cache import model_directory
    from t2c_jax.interop.import_model import import_model

    runtime.keep_compiled()
    workdir = shared.workdir_of(options)
    with workdir.locked():
        result = import_model(model_directory(options.source), workdir)
    print_result(options, result)
    return 0
