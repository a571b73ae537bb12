"""``t2c generate``."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_lines, print_result
from t2c_jax.errors import UserError

if TYPE_CHECKING:
    from t2c_jax.decode.generator import Answer, Hypothesis

UNKNOWN = "I don't know"
SUMMARY = "answers to prompts from the command line, a file or standard input"


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    shared.add_answering(parser)
    parser.add_argument(
        "--min-confidence",
        type=float,
        metavar="P",
        help='answer "I don\'t know" where the confidence is below P; needs t2c rerank',
    )
    shared.add_prompts(parser)


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    shared.check_local("--input", options.input)
    _ask_for_confidence(options)
    experiment, workdir = shared.connected(options)
    from t2c_jax import console, runtime
    from t2c_jax.library.run import Run

    prompt, answered = experiment.data.direction.split("_to_")
    texts = shared.prompts_of(options, prompt)
    opened = Run(experiment, workdir, options.step, others=options.others, average=options.average)
    with console.progress("generate", len(texts), "prompts") as bar:
        answers = opened.generate(texts, advance=bar.advance)
    truncated = [number for number, answer in enumerate(answers, 1) if answer.prompt_truncated]
    if truncated:
        console.warn(
            f"{len(truncated)} prompt(s) are longer than config.data.encoder_length="
            f"{experiment.data.encoder_length} tokens and were cut; the first is number {truncated[0]}"
        )
    if not runtime.is_primary():
        return 0
    samples, least = experiment.decode.samples, options.min_confidence
    rows = [
        {prompt: text, **_values(answer.hypotheses[0], answered), "provenance": asdict(answer.provenance)}
        for text, answer in zip(texts, answers, strict=True)
    ]
    for row, answer in zip(rows, answers, strict=True):
        if answer.confidence is not None:
            row["confidence"] = answer.confidence
        if least is not None:
            row["answered"] = _is_sure(answer, least)
            row[answered] = row[answered] if row["answered"] else None
    if experiment.data.retrieve.neighbours:
        for row, answer in zip(rows, answers, strict=True):
            row["neighbours"] = [each.to_dict() for each in answer.neighbours]
    if options.json or samples > 1:
        for row, answer in zip(rows, answers, strict=True):
            row["hypotheses"] = [_values(each, answered) for each in answer.hypotheses]
    if options.json:
        print_result(options, rows)
    elif sys.stdout.isatty():
        _show(answers, samples, opened.answer_language, least)
    elif options.input is not None or len(rows) * samples > 1:  # answers have newlines; a JSON object is one line
        print_lines(rows)
    else:
        print(answers[0].best if _is_sure(answers[0], least) else UNKNOWN)
    return 0


def _ask_for_confidence(options: Namespace) -> None:
    """Confidence comes with reranking.

    Raises:
      UserError: it is no probability.
    """
    if options.min_confidence is None:
        return
    if not 0 <= options.min_confidence <= 1:
        raise UserError(f"--min-confidence {options.min_confidence:g} is a probability; it is from 0 to 1")
    options.overrides.append("decode.rerank=True")


def _is_sure(answer: Answer, least: float | None) -> bool:
    return least is None or (answer.confidence is not None and answer.confidence >= least)


def _values(hypothesis: Hypothesis, answered: str) -> dict[str, Any]:
    return {
        answered: hypothesis.text,
        "score": hypothesis.score,
        "log_probability": hypothesis.log_probability,
        "finished": hypothesis.finished,
        **({"retrieved": True} if hypothesis.retrieved else {}),
    }


def _show(answers: Sequence[Answer], samples: int, language: str, least: float | None) -> None:
    """Prints answers to a terminal: the best one of each, or all samples; or that none is likely enough."""
    from t2c_jax import console
    from t2c_jax.languages.lexers import highlighting_lexer

    lexer = highlighting_lexer(language)
    for answer in answers:
        if not _is_sure(answer, least):
            console.print_title(f"{UNKNOWN} (confidence {answer.confidence:.2f})")
            continue
        for number, each in enumerate(answer.hypotheses[:samples], 1):
            if samples > 1:
                unfinished = "" if each.finished else "  unfinished"
                console.print_title(f"{number} of {samples}  log-probability {each.log_probability:.2f}{unfinished}")
            console.print_code(each.text, lexer)
