"""The cost of a grammar: a step of a search that follows it against a step of one that does not, in turn.

    python benchmarks/constrained.py --workdir runs/quickstart
    python benchmarks/constrained.py --workdir runs/quickstart --prompts 0 --beams 1 --rounds 1

A turn answers the first ``--prompts`` of a split of the run by both sides in the same process.
Under a grammar answers have other lengths, so times are of steps, not of answers. A step is one of all rows that a core
searches (config.decode.batch_size over the cores). Compilation, of the program and of the grammar, and a first round
are not timed.

The second table counts the answers that end within config.decode.max_tokens, and how many of these the language's own
parser accepts. Where a search that follows no grammar finds a text of the language, the grammar would have changed
nothing in a greedy search, so the others are what "search freely, then again under the grammar" searches twice.
"""

from __future__ import annotations

import argparse
from typing import Any

import _rounds
from _prompts import prompt_options, prompts_of
from grammar import LANGUAGES

from t2c_jax import console


def table_of(beams: int) -> str:
    """The name of a table."""
    return "greedy" if beams == 1 else f"beam {beams}"


def ours(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """Tasks whose work is steps, and what was answered in the first round."""
    from t2c_jax import open_run

    run = open_run(options.workdir)
    _, generator = run._loaded
    prompts = prompts_of(options)
    facts: dict[str, Any] = {}

    def task(name: str, beams: int, grammar: str) -> _rounds.Task:
        patience = 0.0 if beams == 1 else float(beams)

        def step() -> float:
            before = generator.steps
            found = run.generate(prompts, beam_size=beams, patience=patience, grammar=grammar, prompt_lookup=0)
            steps = generator.steps - before
            if name not in facts:
                ended = [answer.best for answer in found if answer.finished]
                parsed = sum(map(LANGUAGES[options.grammar].parses, ended))
                facts[name] = {"answers": len(found), "ended": len(ended), "parsed": parsed, "steps": steps}
            return float(steps)

        return step

    tasks = {
        f"{table_of(beams)}{suffix}": task(f"{table_of(beams)}{suffix}", beams, grammar)
        for beams in options.beams
        for suffix, grammar in (("", ""), (f", {options.grammar}", options.grammar))
    }
    return tasks, facts


def main() -> None:
    parser = _rounds.parser(__doc__)
    parser.set_defaults(rounds=7, steps=1)
    prompt_options(parser, 64)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4], help="of the searches (default: 1 4)")
    parser.add_argument("--grammar", choices=LANGUAGES, default="python", help="(default: %(default)s)")
    options = parser.parse_args()
    if options.worker:
        _rounds.serve(ours, options, long=True)
        return
    about = _rounds.machine()
    names = [table_of(beams) for beams in options.beams]
    sides = {name: [_rounds.ours(each, task=each) for each in (name, f"{name}, {options.grammar}")] for name in names}
    turns, facts = _rounds.measure([side for pair in sides.values() for side in pair], options.rounds)
    results: dict[str, Any] = {}
    rows = []
    for name, (free, followed) in sides.items():
        results[name] = _rounds.compare(f"{name}: a step", "steps", turns, options.steps, [followed], free)
        for side in (free, followed):
            found = facts["ours"][side.task]
            work = sum(turn.work for turn in turns[side.name])
            found["ms_per_step"] = 1e3 * sum(turn.seconds for turn in turns[side.name]) / work
            found["cpu_ms_per_step"] = 1e3 * sum(turn.cpu_seconds for turn in turns[side.name]) / work
            results[name][side.name] |= found
            rows.append(
                (
                    side.name,
                    f"{found['ms_per_step']:.2f}",
                    f"{found['cpu_ms_per_step']:.2f}",
                    f"{found['steps']:,}",
                    f"{found['ended']:,} of {found['answers']:,}",
                    f"{found['parsed']:,}",
                )
            )
    console.table("answers", ("", "ms/step", "CPU ms", "steps", "ended", "and parse"), rows)
    _rounds.report(options, about, results)


if __name__ == "__main__":
    main()
