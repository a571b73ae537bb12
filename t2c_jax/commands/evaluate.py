"""``t2c evaluate``."""

from argparse import ArgumentParser, Namespace

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_result
from t2c_jax.errors import UserError

SUMMARY = "scores of a checkpoint on held-out pairs"


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    shared.add_answering(parser)
    shared.add_risk(parser)
    parser.add_argument(
        "--follow", action="store_true", help="score each checkpoint of a run that is training, until it ends"
    )


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    if options.follow and (options.step is not None or options.others or options.average != 1):
        raise UserError("--follow scores each checkpoint alone; leave out --step, --with and --average")
    experiment, workdir = shared.connected(options)
    from t2c_jax.checkpoints.saved_run import SavedRun
    from t2c_jax.evaluate.checkpoints import evaluate_checkpoint, follow_run

    how = (SavedRun.of(experiment, workdir), experiment.evaluate, experiment.decode, experiment.mesh)
    if options.follow:
        print_result(options, follow_run(*how, seed=experiment.seed, risk_accepted=options.risk_accepted))
    else:
        chosen = {
            "step": options.step,
            "others": options.others,
            "average": options.average,
            "risk_accepted": options.risk_accepted,
        }
        print_result(options, evaluate_checkpoint(*how, seed=experiment.seed, **chosen))
    return 0
