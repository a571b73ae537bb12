"""``t2c export``."""

import contextlib
import itertools
from argparse import ArgumentParser, Namespace
from pathlib import Path

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_result

SUMMARY = "a checkpoint as a Hugging Face or CTranslate2 model directory, checked to be the same model"
_COMPARED = 256  # dev pairs on which the exported model must agree


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    shared.add_run(parser)
    shared.add_step(parser)
    shared.add_average(parser)
    parser.add_argument("--to", choices=("huggingface", "ctranslate2"), required=True, help="the format")
    parser.add_argument("--output", metavar="DIR", required=True, help="a directory that is empty or does not exist")
    parser.add_argument(
        "--vocabulary",
        choices=("original", "trimmed"),
        help="of a model that was trimmed at its import (default: original for huggingface, trimmed for ctranslate2)",
    )
    parser.add_argument("--original", metavar="DIR", help="where the imported model is, if it was moved since")
    parser.add_argument("--quantization", choices=("float32", "int8"), default="float32", help="of the weights")


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    shared.check_local("--output", options.output)
    from t2c_jax import runtime
    from t2c_jax.checkpoints.saved_run import SavedRun
    from t2c_jax.evaluate.prompt_pairs import prompt_pairs
    from t2c_jax.interop.export import check_request, export_model
    from t2c_jax.interop.hub_cache import model_directory
    from t2c_jax.interop.original_vocabulary import with_original_vocabulary
    from t2c_jax.interop.trained import load_trained
    from t2c_jax.library.run_stages import check_imported
    from t2c_jax.workdir import MANIFEST

    runtime.keep_compiled()
    workdir = shared.workdir_of(options)
    check_imported(workdir)
    experiment = shared.experiment_of(options, workdir)
    output = Path(options.output)
    check_request(experiment.model, experiment.data, options.to, output, options.quantization)
    pairs: list[tuple[str, str]] = []
    if (workdir.corpus / MANIFEST).is_file():
        held_out = itertools.islice(prompt_pairs(workdir, "dev", experiment.data.direction), _COMPARED)
        pairs = [(pair.text, pair.code) for pair in held_out]
    trained = load_trained(
        SavedRun.of(experiment, workdir),
        experiment.decode,
        experiment.mesh,
        options.step,
        options.average,
        text=experiment.corpus.text,
        stop_metric=experiment.train.stop_metric,
    )
    vocabulary = options.vocabulary or ("original" if options.to == "huggingface" else "trimmed")
    with contextlib.ExitStack() as stack:
        exported = trained
        if vocabulary == "original":
            source = options.original and model_directory(options.original)
            exported = stack.enter_context(with_original_vocabulary(trained, source))
        print_result(options, export_model(exported, options.to, output, options.quantization, pairs))
    return 0
