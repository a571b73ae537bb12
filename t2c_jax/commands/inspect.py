"""``t2c inspect``."""

from argparse import ArgumentParser, Namespace

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_result
from t2c_jax.errors import UserError

SUMMARY = "the parameters of the model that a config describes, and a workdir's checkpoints; or where a pair is from"


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    shared.add_run(parser, workdir_required=False)
    parser.add_argument(
        "--pair", metavar="ID", help="show a pair of the workdir's corpus and the lines that it is from"
    )


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    from t2c_jax import runtime

    workdir = shared.workdir_of(options) if options.workdir else None
    if options.pair is not None:
        if workdir is None:
            raise UserError("t2c inspect --pair needs --workdir DIR: the corpus with the pair is there")
        from t2c_jax.commands.pair_lines import show_pair

        print_result(options, show_pair(options.pair, shared.experiment_of(options, workdir).corpus, workdir))
        return 0
    runtime.keep_compiled()
    from t2c_jax.commands.parameter_table import inspect
    from t2c_jax.library.run_stages import check_imported

    if workdir is not None:
        check_imported(workdir)
    experiment = shared.experiment_of(options, workdir)

    print_result(options, inspect(experiment, workdir))
    return 0
