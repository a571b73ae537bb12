"""Scores of a run's checkpoints on held-out pairs: one of them, or each as it appears."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2c_jax import config as configs
from t2c_jax import console, runtime
from t2c_jax.config import DecodeConfig, EvaluateConfig, MeshConfig
from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.corpus.held_out import find_problems
from t2c_jax.corpus.pairs import Pair
from t2c_jax.corpus.pairs_file.pair_reader import read_codes
from t2c_jax.decode.search_names import checkpoint_name, search_name
from t2c_jax.errors import UserError
from t2c_jax.evaluate.calibration import calibration, rightness
from t2c_jax.evaluate.comparison import score_table
from t2c_jax.evaluate.evaluator import evaluate_predictions, select_pairs, write_evaluation
from t2c_jax.evaluate.execution.execution_report import report_execution
from t2c_jax.evaluate.metrics.metric import checked_metrics, metric_named
from t2c_jax.evaluate.prompt_pairs import prompt_pairs
from t2c_jax.evaluate.samples import samples_of
from t2c_jax.workdir import StageResult, Workdir, digest

if TYPE_CHECKING:
    from t2c_jax.checkpoints.saved_run import SavedRun

_GROUP = "evaluations"
_PROBLEMS = "config.evaluate.problems"


def evaluation_name(
    members: Sequence[str], average: int, config: EvaluateConfig, decode: DecodeConfig, reranker: str = ""
) -> str:
    """Step, split, size and search, as in ``300-test-all-beam4-penalty1-tokens256``.

    Args:
      members: the names of what answered, as ``load_generator`` returns them.
      average: how many checkpoints' parameters were averaged.
      config: names split and size.
      decode: the search.
      reranker: the digest of the reranker, if answers are reranked.
    """
    size = str(config.max_examples or "all")
    parts = [checkpoint_name(members, average), config.split, size, search_name(decode)]
    return "-".join([*parts, reranker[:8]] if reranker else parts)


def which_answer(decode: DecodeConfig) -> str:
    """Which of the answers that a search finds to a prompt is scored, in words."""
    if decode.rerank:
        searched = f"{decode.samples} samples" if decode.temperature else f"a beam of {decode.beam_size}"
        return f"the candidate of {searched} that the reranker puts first, finished ones before others"
    drawn = f"drawn at temperature {decode.temperature:g} with seed {decode.seed}"
    ranking = "by score, finished ones before others"
    if decode.samples > 1:
        return f"the best of {decode.samples} samples {drawn}, {ranking}"
    if decode.temperature:
        return f"one sample {drawn}"
    if decode.beam_size > 1:
        return f"the best hypothesis of beam search with {decode.beam_size} beams, {ranking}"
    return "that of greedy search"


def evaluations_of(workdir: Workdir, step: int, average: int = 1) -> list[dict[str, Any]]:
    """The content of each ``scores.json`` of a checkpoint, ensembles excepted; scores on the test split come first."""
    found = []
    for stage in workdir.finished_under(_GROUP):
        scores = json.loads((workdir.current(stage) / "scores.json").read_text("utf-8"))
        if scores["members"] == [str(step)] and scores.get("average", 1) == average:
            found.append(scores)
    return sorted(found, key=lambda scores: scores["split"] != "test")


def evaluate_checkpoint(
    run: SavedRun,
    config: EvaluateConfig,
    decode: DecodeConfig,
    mesh: MeshConfig,
    *,
    seed: int,
    step: int | None = None,
    others: Sequence[str] = (),
    average: int = 1,
    risk_accepted: bool = False,
) -> dict[str, Any]:
    """Scores of a checkpoint, the best one by default, beside those of the retrieval baseline.

    Args:
      run: its workdir gets the evaluation.
      config: split, metrics and size.
      decode: the search.
      mesh: of the devices that answer.
      seed: of the bootstrap.
      step: the checkpoint.
      others: checkpoints to average predictions with, as in ``load_generator``.
      average: how many checkpoints to average the parameters of, as in ``load_generator``.
      risk_accepted: whether metrics that run code may run it without isolation, where the machine offers none.

    Returns:
      The content of ``scores.json``; on all processes but the first one, nothing.
    """
    from t2c_jax.decode.loading import load_generator
    from t2c_jax.decode.rerank.reranker import load_reranker

    workdir, direction = run.workdir, run.data.direction
    metrics = checked_metrics(config.metrics, config, decode, risk_accepted=risk_accepted)
    files = find_problems(config.problems, _PROBLEMS)
    problems = {file.name: [*read_codes(file, _PROBLEMS)] for file in files}  # so a malformed one stops this here
    members, generator = load_generator(run, decode, mesh, step, others, average)
    step = int(members[0])
    reranker = load_reranker(run, members, generator, decode, mesh, average) if decode.rerank else None
    checksum = "" if reranker is None else reranker.digest
    name = evaluation_name(members, average, config, decode, checksum)
    read = {"evaluate": config, "decode": decode, "data": run.data, "model": run.model}
    inputs = {"corpus": workdir.digest("corpus"), "checkpoint": generator.digest()}
    if files:
        inputs["problems"] = digest(*(file.digest for file in files))
    if reranker is not None:
        inputs["reranker"] = checksum
        if config.split == "dev":
            console.warn(
                "the reranker was fitted on dev pairs, so scores on them are too high; t2c rerank has fair ones"
            )
    stage, done = _free_stage(workdir, name, read, inputs)
    if runtime.agreed(int(done is None)):  # all processes decode, or none does
        pairs = select_pairs(prompt_pairs(workdir, config.split, direction), config.max_examples)
        with console.progress("evaluate", len(pairs), "pairs") as bar:
            prompts = [pair.text for pair in pairs]
            answers = generator.generate(prompts, advance=bar.advance)
        if reranker is not None:
            answers = reranker(prompts, answers)

        embed = None
        if "embedding" in run.model.output_heads and direction == "text_to_code":
            from t2c_jax.decode.embedder import Embedder

            member = generator.members[0]
            embed = Embedder(member, run.tokenizers, run.data, decode.batch_size, generator.mesh).embed
        candidates, train_pairs = [answer.candidates for answer in answers], prompt_pairs(workdir, "train", direction)
        trained_on = read_pairs(workdir, "train")  # with code without a text
        # On every process, since all of them embed; the first one writes.
        evaluation = evaluate_predictions(
            pairs,
            candidates,
            train_pairs,
            config,
            seed,
            embed,
            metrics=metrics,
            samples=samples_of(answers, decode),
            trained_on=map(Pair.reverse, trained_on) if direction == "code_to_text" else trained_on,
            problems=problems,
        )
        for example, answer in zip(evaluation.examples, answers, strict=True):
            example["provenance"] = {name: round(share, 4) for name, share in asdict(answer.provenance).items()}
            example["neighbours"] = [each.id for each in answer.neighbours]
            if answer.confidence is not None:
                example["confidence"] = round(answer.confidence, 4)
        if reranker is not None:
            metric = metric_named(reranker.confidence_of, config, risk_accepted=risk_accepted)
            metric = metric.fitted(prompt_pairs(workdir, "train", direction))
            right = rightness(metric, pairs, [answer.best for answer in answers]).tolist()
            found = calibration([each.confidence or 0.0 for each in answers], right)
            evaluation.scores["confidence"] = {"of": metric.name, **found}
        shares = [asdict(answer.provenance) for answer in answers]
        mean = {name: round(sum(each[name] for each in shares) / len(shares), 4) for name in shares[0]}
        counts = {
            "step": step,
            "members": members,
            **({"average": average} if average > 1 else {}),
            "examples": len(pairs),
            "unfinished": sum(not answer.finished for answer in answers),
            "truncated_prompts": sum(answer.prompt_truncated for answer in answers),
            "provenance": mean,
        }
        if not_run := evaluation.scores.get("execution", {}).get("not_run", 0):
            counts["not_run"] = not_run
        evaluation.scores.update(
            counts,
            size=config.max_examples or "all",
            search=search_name(decode),
            answers=which_answer(decode),
            decode=configs.to_dict(decode),
        )

        def build(directory: Path) -> dict[str, Any]:
            evaluation.scores["name"] = stage.removeprefix(f"{_GROUP}/")
            write_evaluation(directory, evaluation)
            return counts

        if runtime.is_primary():
            with workdir.locked(_GROUP):
                stage, done = _free_stage(workdir, name, read, inputs)  # once more, since others may have written
                if stage != f"{_GROUP}/{name}":
                    console.warn(f"'{_GROUP}/{name}' has scores of another config, corpus or checkpoint; see '{stage}'")
                if not_run:  # an input that no later evaluation has, so that this one does not count as finished
                    inputs |= {"not_run": str(not_run)}
                done = done or workdir.stage(stage, read, inputs, build)
    if not runtime.is_primary() or done is None:
        return {}
    scores = json.loads((done.path / "scores.json").read_text("utf-8"))
    columns, rows = score_table(metrics, scores)
    console.table(f"Step {step} on {scores['examples']:,} {config.split} pairs", columns, rows)
    console.say(f"scored answers: {which_answer(decode)}")
    console.say(scores["summary"])
    if "execution" in scores:
        report_execution(scores["execution"])
    console.say(f"every answer: {done.path / 'report.html'}")
    return scores


def _free_stage(
    workdir: Workdir, name: str, config: dict[str, Any], inputs: dict[str, str]
) -> tuple[str, StageResult | None]:
    """The stage of this evaluation, and its result if it is finished.

    Where the name belongs to other scores, such as those of other metrics or a checkpoint trained anew, a number is
    added to it. Only scores without the problems that the sandbox failed to run are replaced.
    """
    taken = {*workdir.finished_under(_GROUP)}
    for number in itertools.count(1):
        stage = f"{_GROUP}/{name}" if number == 1 else f"{_GROUP}/{name}.{number}"
        done = workdir.finished(stage, config, inputs)
        if done is not None or stage not in taken or workdir.manifest(stage)["counts"].get("not_run"):
            return stage, done
    raise AssertionError


def follow_run(
    run: SavedRun,
    config: EvaluateConfig,
    decode: DecodeConfig,
    mesh: MeshConfig,
    *,
    seed: int,
    seconds: float = 10.0,
    risk_accepted: bool = False,
) -> list[dict[str, Any]]:
    """Scores each checkpoint of a run that trains elsewhere, oldest first, until the run has ended.

    The scores are written to TensorBoard too. A checkpoint that the run deletes before it is scored gives a warning.

    Args:
      run: the run that trains.
      config, decode, mesh, seed, risk_accepted: as for ``evaluate_checkpoint``.
      seconds: between two looks for a new checkpoint.
    """
    from t2c_jax.checkpoints.checkpoint import Checkpoints
    from t2c_jax.train.telemetry.writers import has_ended, write_scores

    workdir = run.workdir
    scored: dict[int, dict[str, Any]] = {}
    deleted: set[int] = set()

    def unscored() -> list[int]:
        if not workdir.checkpoints.is_dir():
            return []
        checkpoints = Checkpoints(workdir.checkpoints, {}, read_only=True)
        steps = checkpoints.steps()
        checkpoints.close()
        return [step for step in steps if step not in scored and step not in deleted]

    console.say(f"following '{workdir.name}'")
    while True:
        # Read before the checkpoints: a run writes its last one before it writes that it has ended.
        running = runtime.agreed(int(not has_ended(workdir.text(workdir.metrics.name))))
        step = runtime.agreed(min(unscored(), default=0))
        if step:
            try:
                scored[step] = evaluate_checkpoint(
                    run, config, decode, mesh, seed=seed, step=step, risk_accepted=risk_accepted
                )
            except (UserError, OSError, ValueError):  # whatever reading raises on files that are being deleted
                if step in unscored():
                    raise
                console.warn(f"checkpoint {step} was deleted before it could be read; raise config.train.keep")
                deleted.add(step)
            else:
                if runtime.is_primary():
                    write_scores(workdir.tensorboard, step, config.split, scored[step]["model"])
                    workdir.push(["tb/*.evaluate"])
                    workdir.wait_for_push()
        elif not running:
            return list(scored.values())
        else:
            time.sleep(seconds)
