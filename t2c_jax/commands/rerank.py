"""``t2c rerank``."""

from argparse import ArgumentParser, Namespace

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_result

SUMMARY = "fits on dev pairs which candidate of a search is the answer, and how likely it is right"


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    shared.add_answering(parser)
    shared.add_risk(parser)


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    experiment, workdir = shared.connected(options)
    from t2c_jax.checkpoints.saved_run import SavedRun
    from t2c_jax.evaluate.rerank_stage import fit_reranker

    scores = fit_reranker(
        SavedRun.of(experiment, workdir),
        experiment.rerank,
        experiment.evaluate,
        experiment.decode,
        experiment.mesh,
        seed=experiment.seed,
        step=options.step,
        others=options.others,
        average=options.average,
        risk_accepted=options.risk_accepted,
    )
    print_result(options, scores)
    return 0
