"""``t2c embed``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_lines, print_result

SUMMARY = "unit vectors of texts or code, for search; needs a run with an embedding head"


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    shared.add_run(parser)
    shared.add_step(parser)
    shared.add_prompts(parser)
    parser.add_argument("--of", choices=("text", "code"), default="text", help="which field of a .jsonl to read")
    parser.add_argument("--output", metavar="FILE.npy", help="write the vectors to this file as an array, a row each")


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status."""
    shared.check_local("--input", options.input)
    shared.check_local("--output", options.output)
    experiment, workdir = shared.connected(options)
    import numpy as np

    from t2c_jax import console, runtime
    from t2c_jax.library.run import Run
    from t2c_jax.workdir import disk_errors

    output = None if options.output is None else Path(options.output)
    if output is not None and runtime.is_primary():
        shared.check_writable("--output", output)
    sources = shared.prompts_of(options, options.of)
    opened = Run(experiment, workdir, options.step)
    with console.progress("embed", len(sources), "sources") as bar:
        vectors = opened.embed(sources, advance=bar.advance)
    if not runtime.is_primary():
        return 0
    if output is not None:
        with disk_errors(output, "--output"), output.open("wb") as file:
            np.save(file, vectors)
    rows = [{options.of: source, "vector": vector} for source, vector in zip(sources, vectors.tolist(), strict=True)]
    if options.json:
        print_result(options, rows)
    elif output is None:
        print_lines(rows)
    return 0
