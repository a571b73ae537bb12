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
    parser.add_argument(
        "--trim-to",
        metavar="SOURCE",
        action="append",
        default=[],
        help="keep only the pieces of the vocabulary that this corpus needs: a workdir, or a source as in"
        " config.corpus.sources; may be given several times",
    )
    shared.add_workdir(parser)


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    shared.check_local("--from", options.source)
    if options.overrides:
        raise UserError("t2c import takes no --config: the model has its own shape; set it for the run that uses it")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # it computes nothing: accelerators are left to others
    from t2c_jax import runtime
    from t2c_jax.interop.corpus_texts import corpus_texts
    from t2c_jax.interop.hub_cache import model_directory
    from t2c_jax.interop.import_model import import_model

    runtime.keep_compiled()
    workdir = shared.workdir_of(options)
    with workdir.locked():
        texts = corpus_texts(options.trim_to) if options.trim_to else None
        result = import_model(model_directory(options.source), workdir, texts)
    print_result(options, result)
    return 0
