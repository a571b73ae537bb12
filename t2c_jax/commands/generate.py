"""``t2c generate``."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_lines, print_result

SUMMARY = "answers to prompts from the command line, a file or standard input"


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    shared.add_run(parser)
    shared.add_step(parser)
    shared.add_ensemble(parser)
    shared.add_average(parser)
    shared.add_prompts(parser)


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    shared.check_local("--input", options.input)
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
    rows = [
        {prompt: text, answered: answer.best, "score": answer.score, "finished": answer.finished}
        for text, answer in zip(texts, answers, strict=True)
    ]
    if not runtime.is_primary():
        return 0
    if options.json:
        print_result(options, rows)
    elif sys.stdout.isatty():
        from t2c_jax.languages.lexers import highlighting_lexer

        for answer in answers:
            console.print_code(answer.best, highlighting_lexer(opened.answer_language))
    elif options.input is not None or len(rows) > 1:  # answers have newlines, so each is a JSON object on one line
        print_lines(rows)
    else:
        print(answers[0].best)
    return 0
