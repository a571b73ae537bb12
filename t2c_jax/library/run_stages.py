"""The stages of a run as functions of (experiment, workdir); each returns what it counted."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from t2c_jax import console, runtime
from t2c_jax.checkpoints.config_history import saved_config
from t2c_jax.config import DataConfig, Experiment
from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.data.placeholders import NAMES, named_pairs
from t2c_jax.errors import UserError
from t2c_jax.workdir import Workdir

if TYPE_CHECKING:
    from t2c_jax.corpus.beam_runner import BeamRunner
    from t2c_jax.corpus.pairs import Pair
    from t2c_jax.train.hooks import Hook
    from t2c_jax.train.loop import TrainResult

Result = dict[str, Any]
Stage = Callable[[Experiment, Workdir], Result]


def on_primary(stage: Callable[..., Result]) -> Callable[..., Result]:
    """A stage that the first process runs while the others wait; they get an empty result."""

    @functools.wraps(stage)
    def guarded(experiment: Experiment, workdir: Workdir, **options: Any) -> Result:
        result = stage(experiment, workdir, **options) if runtime.is_primary() else {}
        runtime.barrier(stage.__name__)
        return result

    return guarded


@on_primary
def mine(experiment: Experiment, workdir: Workdir, runner: BeamRunner | None = None) -> Result:
    """Sources to the corpus of cleaned pairs; mined in Apache Beam where a runner is given."""
    from t2c_jax.corpus.build import build_corpus

    return build_corpus(experiment.corpus, workdir, runner=runner).manifest["counts"]


def _pairs(data: DataConfig, workdir: Workdir) -> Callable[[str], Iterator[Pair]]:
    """The pairs of a split as the model sees them."""
    read = functools.partial(read_pairs, workdir)
    return (lambda split: named_pairs(read(split))) if data.placeholders else read


@on_primary
def tokenizer(experiment: Experiment, workdir: Workdir) -> Result:
    """The corpus to a tokenizer, with its lossless proof."""
    from t2c_jax.tokenizers.stage import build_tokenizer

    settings = experiment.tokenizer
    origin = Workdir(experiment.origin.run) if experiment.origin.run else None
    return build_tokenizer(
        settings,
        experiment.data.direction,
        workdir,
        _pairs(experiment.data, workdir),
        origin=origin,
        reuse="tokenizer" in experiment.origin.take,
        own_encoder=experiment.model.encoder.own_tokenizer,
        placeholders=NAMES if experiment.data.placeholders else (),
    ).manifest["counts"]


@on_primary
def prepare(experiment: Experiment, workdir: Workdir) -> Result:
    """Corpus and tokenizer to tokens; shows how well the rows' lengths suit them."""
    from t2c_jax.data.encoder_features import encoder_features
    from t2c_jax.data.mixture import open_streams, task_shares
    from t2c_jax.data.packing_report import show_features, show_fits, show_tasks
    from t2c_jax.data.prepare import build_tokens
    from t2c_jax.data.retrieved import build_retrieval, split_neighbours
    from t2c_jax.data.tasks.translation import translation
    from t2c_jax.data.tokens import open_tokens
    from t2c_jax.tokenizers.loading import Tokenizers

    data, model, seed = experiment.data, experiment.model, experiment.seed
    features = encoder_features(data, model)
    counts = build_tokens(data, workdir, _pairs(data, workdir), features).manifest["counts"]
    tokenizers = Tokenizers.load(workdir.tokenizer, data.direction)
    if data.retrieve.neighbours:
        from t2c_jax.decode.run_encoder import encoder_of  # it loads jax

        build_retrieval(data, workdir, functools.partial(read_pairs, workdir), encoder_of(data.retrieve))
    tokens = open_tokens(workdir, "train", tokenizers)
    statistics = features.statistics(tokens)
    if not data.tasks and not statistics:
        neighbours = split_neighbours(workdir, "train", tokenizers, data)
        fits = show_fits(tokens, data, translation(tokenizers, data, neighbours=neighbours), seed)
    else:
        streams = open_streams(workdir, "train", tokenizers, data, model, seed=seed)
        shares = task_shares(data, streams).tolist()
        fits = show_tasks(streams, shares) if data.tasks else show_features(streams[""], statistics)
    return {"splits": counts["splits"], "real_token_share": round(fits[0].real_token_share, 4)}


def train(
    experiment: Experiment,
    workdir: Workdir,
    profile: range | None = None,
    hooks: Sequence[Hook] = (),
    *,
    risk_accepted: bool = False,
) -> TrainResult:
    """Tokens to checkpoints, with the given hooks; traces the steps of ``profile`` for TensorBoard's profile page.

    ``risk_accepted`` lets a config.train.stop_metric that runs answers do so without isolation.
    """
    from t2c_jax.evaluate.during_training import decoding_hooks
    from t2c_jax.train.loop import train as run_loop
    from t2c_jax.train.telemetry import weights_and_biases
    from t2c_jax.train.telemetry.profile import Profile

    weights_and_biases.check(experiment.train.wandb)
    profiles = [] if profile is None else [Profile(profile, workdir.tensorboard)]
    decoding = decoding_hooks(
        workdir,
        experiment.model,
        experiment.data,
        experiment.decode,
        experiment.train,
        experiment.evaluate,
        risk_accepted=risk_accepted,
    )
    return run_loop(experiment, workdir, [*decoding, *profiles, *hooks])


def run_all(
    experiment: Experiment, workdir: Workdir, profile: range | None = None, *, risk_accepted: bool = False
) -> Result:
    """All stages in order, by name; ``evaluate`` is missing if a signal ended the training. Finished ones are skipped.

    Where config.decode.rerank asks for a reranker, it is fitted before the evaluation.

    Raises:
      UserError: a stage is refused; or, before any of them, the run to start from, config.data.retrieve.encoder, a
        library or the sandbox of a metric is missing, or an item of config.optimizer.rates reaches no parameter.
    """
    from t2c_jax.checkpoints.saved_run import SavedRun
    from t2c_jax.decode.run_encoder import encoder_of
    from t2c_jax.evaluate.checkpoints import evaluate_checkpoint
    from t2c_jax.evaluate.metrics.metric import checked_metrics
    from t2c_jax.evaluate.rerank_stage import fit_reranker
    from t2c_jax.models.definition import Definition
    from t2c_jax.train.setup import trainable_of
    from t2c_jax.train.telemetry import weights_and_biases

    check_origin(experiment)
    encoder_of(experiment.data.retrieve)
    if not experiment.lora.rank:  # adapters' paths are known where the origin's parameters are
        trainable_of(experiment, Definition(experiment.model, experiment.tokenizer.vocab_size))
    weights_and_biases.check(experiment.train.wandb)
    scored = (experiment.evaluate, experiment.decode, experiment.mesh)
    checked_metrics(experiment.evaluate.metrics, *scored[:2], risk_accepted=risk_accepted)
    results: Result = {}
    stages: dict[str, Stage] = {
        "mine": mine,
        "tokenizer": tokenizer,
        "prepare": prepare,
        "train": lambda experiment, workdir: dataclasses.asdict(
            train(experiment, workdir, profile, risk_accepted=risk_accepted)
        ),
    }
    for name, stage in stages.items():
        console.rule(name)
        results[name] = stage(experiment, workdir)
    if results["train"]["stopped_by"] is None:
        if experiment.decode.rerank:
            console.rule("rerank")
            run = SavedRun.of(experiment, workdir)
            results["rerank"] = fit_reranker(
                run, experiment.rerank, *scored, seed=experiment.seed, risk_accepted=risk_accepted
            )
        console.rule("evaluate")
        results["evaluate"] = evaluate_checkpoint(
            SavedRun.of(experiment, workdir), *scored, seed=experiment.seed, risk_accepted=risk_accepted
        )
    return results


def check_origin(experiment: Experiment) -> None:
    """Whether the origin, if there is one, has what the run takes from it, before any work is done for the run.

    Raises:
      UserError: there is no such run; it has another encoder, its parameters do not fit, or they were trained under
        other settings.
    """
    from t2c_jax.checkpoints.compatibility import Settings
    from t2c_jax.checkpoints.origin import Origin

    if experiment.origin.run:
        with Origin(experiment.origin) as origin:
            settings = Settings(experiment.model, experiment.data)
            origin.check(settings, experiment.tokenizer.vocab_size, experiment.lora)


def check_imported(workdir: Workdir, writes: bool = False) -> None:
    """Refuses what an imported model is not for.

    It stays as it was imported: a run that starts from it has a workdir of its own. An encoder cannot answer alone.

    Args:
      workdir: may hold an import.
      writes: the stages of a run would be written there.

    Raises:
      UserError: it holds an import that does not allow this.
    """
    try:
        whole_model = workdir.manifest("tokenizer")["counts"].get("whole_model")
    except UserError:  # no tokenizer, so no import
        return
    if whole_model is False or (whole_model and writes):
        what = "model" if whole_model else "encoder without a decoder"
        raise UserError(
            f"'{workdir.name}' holds an imported {what}; start a run from it in another --workdir, with"
            f" --config.origin.run={workdir.name}"
        )


@contextlib.contextmanager
def writing(experiment: Experiment, workdir: Workdir, *, trains: bool = False) -> Iterator[None]:
    """Holds the workdir and saves the config there (``saved_config``), on the first process.

    Args:
      experiment: the config to save.
      workdir: to hold.
      trains: check first that the mesh fits the devices, before other stages work for a run that could not train.

    Raises:
      UserError: another run holds the workdir, or the mesh does not fit.
    """
    with workdir.locked() if runtime.is_primary() else contextlib.nullcontext():
        if trains:
            from t2c_jax.train.setup import planned_mesh

            planned_mesh(experiment)
        with saved_config(experiment, workdir):
            yield
