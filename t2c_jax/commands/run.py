"""``t2c run``."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_result
from t2c_jax.commands.train import status_of

if TYPE_CHECKING:
    from t2c_jax.config import Experiment
    from t2c_jax.workdir import Workdir

SUMMARY = "all stages in order: mine, tokenizer, prepare, train, evaluate"
_SHOWN = 3  # answers


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    shared.add_run(parser)
    shared.add_profile(parser)
    shared.add_risk(parser)


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    from t2c_jax.library import run_stages as stages

    profile = shared.profile_of(options)

    def all_stages(experiment: Experiment, workdir: Workdir) -> stages.Result:
        from t2c_jax import runtime

        results = stages.run_all(experiment, workdir, profile, risk_accepted=options.risk_accepted)
        if "evaluate" in results and runtime.is_primary():
            _show_answers(workdir, results["evaluate"])
            _show_summary(experiment, workdir, results)
            _show_next(experiment, workdir)
        return results

    results = shared.run_stage(options, all_stages, trains=True)
    print_result(options, results)
    return status_of(options, results["train"])


def _show_answers(workdir: Workdir, scores: dict[str, Any]) -> None:
    """Shows the best answers."""
    from t2c_jax import console
    from t2c_jax.languages.lexers import highlighting_lexer

    path = workdir.current(f"evaluations/{scores['name']}") / "predictions.jsonl"
    with path.open(encoding="utf-8") as file:
        examples = [json.loads(line) for line in file]
    for example in sorted(examples, key=lambda example: -example["chrf"])[:_SHOWN]:
        console.code(example["text"], example["prediction"], highlighting_lexer(example["language"]))


def _show_summary(experiment: Experiment, workdir: Workdir, results: dict[str, Any]) -> None:
    from t2c_jax import console
    from t2c_jax.evaluate.comparison import format_score
    from t2c_jax.evaluate.metrics.metric import metrics_named

    splits, trained, scores = results["prepare"]["splits"], results["train"], results["evaluate"]
    speed, split = trained["tokens_per_second"], experiment.evaluate.split
    rows = [
        ("pairs", " / ".join(f"{counts['pairs']:,} {split}" for split, counts in splits.items())),
        ("vocabulary", f"{results['tokenizer']['vocab_size']:,} pieces"),
        ("parameters", f"{trained['parameters']:,}"),
        ("steps", f"{trained['steps']:,}"),
        ("tokens/s", f"{speed:,.0f}" if speed else "- (trained before)"),
        ("goodput", f"{trained['goodput']:.1%}"),
        ("dev loss", "-" if trained["dev_loss"] is None else f"{trained['dev_loss']:.3f} nats a token"),
    ]
    for metric in metrics_named(experiment.evaluate.metrics):
        model, retrieval = (format_score(scores[side][metric.name]) for side in ("model", "retrieval"))
        rows.append((f"{split} {metric.title}", f"{model}  (retrieval {retrieval})"))
    console.table(f"t2c run: {workdir.name}", ("", "value"), rows)


def _show_next(experiment: Experiment, workdir: Workdir) -> None:
    """Shows what to run next, with a prompt from the run's own dev pairs."""
    from t2c_jax import console
    from t2c_jax.evaluate.prompt_pairs import example_prompt, shell_word

    console.say("next:")
    if (prompt := example_prompt(workdir, experiment.data.direction)) is not None:
        console.say(f"  t2c generate --workdir {shell_word(workdir.name)} {shell_word(prompt)}")
    console.say(f"  tensorboard --logdir {shell_word(str(workdir.tensorboard))}")
