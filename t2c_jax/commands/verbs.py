"""What the verbs do: each a function of (experiment, workdir) that returns what a program wants to know of it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2c_jax import config as configs
from t2c_jax import console, runtime
from t2c_jax.config import Experiment
from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.errors import UserError
from t2c_jax.workdir import MANIFEST, Workdir

if TYPE_CHECKING:
    import numpy as np


Result = dict[str, Any]


def _once(stage: Callable[[Experiment, Workdir], Result]) -> Callable[[Experiment, Workdir], Result]:
    """A stage that one process of a run works on while the others wait; its result is the first one's alone."""

    @functools.wraps(stage)
    def once(experiment: Experiment, workdir: Workdir) -> Result:
        result = stage(experiment, workdir) if runtime.is_primary() else {}
        runtime.barrier(stage.__name__)
        return result

    return once


@_once
def mine(experiment: Experiment, workdir: Workdir) -> Result:
    """Sources to the corpus of cleaned pairs."""
    from t2c_jax.corpus.build import build_corpus

    return build_corpus(experiment.corpus, workdir).manifest["counts"]


@_once
def tokenizer(experiment: Experiment, workdir: Workdir) -> Result:
    """The corpus to a tokenizer, with its lossless proof."""
    from t2c_jax.tokenizers.stage import build_tokenizer

    settings = experiment.tokenizer
    origin = Workdir(experiment.origin.run) if experiment.origin.run else None
    return build_tokenizer(
        settings,
        experiment.data.direction,
        workdir,
        functools.partial(read_pairs, workdir),
        origin=origin,
        reuse="tokenizer" in experiment.origin.take,
        own_encoder=experiment.model.encoder.own_tokenizer,
    ).manifest["counts"]


@_once
def prepare(experiment: Experiment, workdir: Workdir) -> Result:
    """Corpus and tokenizer to tokens; shows how well the rows' lengths suit them."""
    from t2c_jax.data.encoder_features import encoder_features
    from t2c_jax.data.mixture import open_streams, task_shares
    from t2c_jax.data.packing_report import show_features, show_fits, show_tasks
    from t2c_jax.data.prepare import build_tokens
    from t2c_jax.data.tasks.translation import translation
    from t2c_jax.data.tokens import open_tokens
    from t2c_jax.tokenizers.loading import Tokenizers

    data, model, seed = experiment.data, experiment.model, experiment.seed
    features = encoder_features(data, model)
    counts = build_tokens(data, workdir, functools.partial(read_pairs, workdir), features).manifest["counts"]
    tokenizers = Tokenizers.load(workdir.tokenizer, data.direction)
    tokens = open_tokens(workdir, "train", tokenizers)
    statistics = features.statistics(tokens)
    if not data.tasks and not statistics:
        fits = show_fits(tokens, data, translation(tokenizers, data), seed)
    else:
        streams = open_streams(workdir, "train", tokenizers, data, model, seed=seed)
        shares = task_shares(data, streams).tolist()
        fits = show_tasks(streams, shares) if data.tasks else show_features(streams[""], statistics)
    return {"splits": counts["splits"], "real_token_share": round(fits[0].real_token_share, 4)}


def train(experiment: Experiment, workdir: Workdir, profile: range | None = None) -> Result:
    """Tokens to checkpoints; traces the steps of ``profile`` for TensorBoard's profile page."""
    from t2c_jax.evaluate.during_training import dev_decoder
    from t2c_jax.train.loop import train as run_loop
    from t2c_jax.train.telemetry import weights_and_biases

    weights_and_biases.check(experiment)
    result = run_loop(experiment, workdir, dev_decoder(experiment, workdir), profile)
    return dataclasses.asdict(result)


def generate(
    experiment: Experiment,
    workdir: Workdir,
    texts: Sequence[str],
    step: int | None = None,
    others: Sequence[str] = (),
    average: int = 1,
) -> list[Result]:
    """What a checkpoint, the best one by default, answers each text; ``others`` and ``average`` as in ``decode.load``.

    Returns:
      The prompt and the answer under ``text`` and ``code``, or ``code`` and ``text``, as config.data.direction says;
      beside them the answer's ``score`` and whether it ``finished``.
    """
    from t2c_jax.decode.loading import load_generator

    _, generator = load_generator(experiment, workdir, step, others, average)
    with console.progress("generate", len(texts), "prompts") as bar:
        answers = generator.generate(texts, advance=bar.advance)
    truncated = [number + 1 for number, answer in enumerate(answers) if answer.prompt_truncated]
    if truncated:
        console.warn(
            f"{len(truncated)} prompt(s) are longer than config.data.encoder_length="
            f"{experiment.data.encoder_length} tokens and were cut, the first of them number {truncated[0]}"
        )
    asked, answered = experiment.data.direction.split("_to_")
    return [
        {asked: text, answered: answer.best, "score": answer.score, "finished": answer.finished}
        for text, answer in zip(texts, answers, strict=True)
    ]


def embed(experiment: Experiment, workdir: Workdir, sources: Sequence[str], step: int | None = None) -> np.ndarray:
    """(sources, width) float32 unit vectors of texts or code, by a checkpoint, the best one by default."""
    from t2c_jax.decode.embedder import Embedder

    embedder = Embedder(experiment, workdir, step)
    with console.progress("embed", len(sources), "sources") as bar:
        return embedder.embed(sources, bar.advance)


def import_model(source: Path, workdir: Workdir) -> Result:
    """A Hugging Face model directory to a workdir."""
    from t2c_jax.interop.import_model import import_model as run_import

    return run_import(source, workdir)


def compile_ahead(experiment: Experiment, workdir: Workdir | None, topology: str, search: bool) -> Result:
    """The train step and the search compiled for a TPU topology; or, to ``search``, the train step in many ways.

    The workdir's tokenizer gives the vocabulary, where there is one; else config.tokenizer.vocab_size does.
    """
    from t2c_jax.aot.ahead_of_time import compile_for
    from t2c_jax.aot.mesh_search import search as run_search
    from t2c_jax.tokenizers.loading import Tokenizers

    vocab_size = experiment.tokenizer.vocab_size
    if workdir is not None and workdir.tokenizer.is_dir():
        vocab_size = Tokenizers.load(workdir.tokenizer, experiment.data.direction).target.vocab_size
    return (run_search if search else compile_for)(experiment, vocab_size, topology)


def export(
    experiment: Experiment,
    workdir: Workdir,
    to: str,
    output: Path,
    quantization: str,
    step: int | None = None,
    average: int = 1,
) -> Result:
    """A checkpoint, the best one by default, or the mean of several, as a model directory of another library."""
    from t2c_jax.evaluate.prompt_pairs import prompt_pairs
    from t2c_jax.interop.export import check_request, export_model
    from t2c_jax.interop.trained import load_trained

    check_request(experiment, to, output, quantization)
    pairs: list[tuple[str, str]] = []
    if (workdir.corpus / MANIFEST).is_file():
        pairs = [
            (pair.text, pair.code)
            for pair in itertools.islice(prompt_pairs(workdir, "dev", experiment.data.direction), 256)
        ]
    return export_model(load_trained(experiment, workdir, step, average), to, output, quantization, pairs)


def run(experiment: Experiment, workdir: Workdir, profile: range | None = None) -> Result:
    """All stages in order, then a few answers and a table; a stage that stands already is skipped."""
    from t2c_jax.checkpoints import origin
    from t2c_jax.evaluate.checkpoints import evaluate_checkpoint
    from t2c_jax.train.telemetry import weights_and_biases

    origin.check(experiment)  # a run that could not start from there should not mine first
    weights_and_biases.check(experiment)
    results: Result = {}
    stages: tuple[tuple[str, Callable[[Experiment, Workdir], Result]], ...] = (
        ("mine", mine),
        ("tokenizer", tokenizer),
        ("prepare", prepare),
        ("train", functools.partial(train, profile=profile)),
    )
    for name, stage in stages:
        console.rule(name)
        results[name] = stage(experiment, workdir)
    if results["train"]["stopped_by"] is not None:
        return results
    console.rule("evaluate")
    results["evaluate"] = evaluate_checkpoint(experiment, workdir)
    if runtime.is_primary():
        _show_answers(workdir, results["evaluate"])
        _show_summary(experiment, workdir, results)
    return results


@contextlib.contextmanager
def saved_config(experiment: Experiment, workdir: Workdir) -> Iterator[None]:
    """Writes the resolved config beside what it makes.

    Where it is refused, and the workdir has checkpoints of another config and none of this one, theirs is put back.
    """
    before, steps = workdir.text(workdir.config.name), workdir.checkpoint_steps()
    if runtime.is_primary():
        workdir.save_config(configs.to_dict(experiment))
    try:
        yield
    except UserError:
        if runtime.is_primary() and steps and workdir.checkpoint_steps() == steps:
            with contextlib.suppress(ValueError):  # there was none, or a damaged one
                workdir.save_config(json.loads(before))
        raise


def _show_answers(workdir: Workdir, scores: Result) -> None:
    path = workdir.current(f"evaluations/{scores['name']}") / "predictions.jsonl"
    with path.open(encoding="utf-8") as file:
        examples = [json.loads(line) for line in file]
    for example in sorted(examples, key=lambda example: -example["chrf"])[:3]:
        console.code(example["text"], example["prediction"], example["language"])


def _show_summary(experiment: Experiment, workdir: Workdir, results: Result) -> None:
    from t2c_jax.evaluate.metrics import metrics_named
    from t2c_jax.evaluate.prompt_pairs import example_prompt, shell_word

    splits, trained, scores = results["prepare"]["splits"], results["train"], results["evaluate"]
    pairs: dict[str, int] = {split: counts["pairs"] for split, counts in splits.items()}
    rows = [
        ("pairs", " / ".join(f"{count:,} {split}" for split, count in pairs.items())),
        ("vocabulary", f"{results['tokenizer']['vocab_size']:,} pieces"),
        ("parameters", f"{trained['parameters']:,}"),
        ("steps", f"{trained['steps']:,}"),
        (
            "tokens/s",
            f"{trained['tokens_per_second']:,.0f}" if trained["tokens_per_second"] else "- (nothing to train)",
        ),
        ("goodput", f"{trained['goodput']:.1%}"),
        ("dev loss", "-" if trained["dev_loss"] is None else f"{trained['dev_loss']:.3f} nats a token"),
    ]
    split = experiment.evaluate.split
    rows += [
        (f"{split} {metric.title}", _score(scores, metric.name))
        for metric in metrics_named(experiment.evaluate.metrics)
    ]
    console.table(f"t2c run: {workdir.name}", ("", "value"), rows)
    console.say("next:")
    if (prompt := example_prompt(workdir, experiment.data.direction)) is not None:
        console.say(f"  t2c generate --workdir {shell_word(workdir.name)} {shell_word(prompt)}")
    console.say(f"  tensorboard --logdir {workdir.tensorboard}")


def _score(scores: Result, name: str) -> str:
    from t2c_jax.evaluate.comparison import format_score

    return f"{format_score(scores['model'][name])}  (retrieval {format_score(scores['retrieval'][name])})"
