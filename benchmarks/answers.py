"""Answers to real prompts: this project, another commit of it, and CTranslate2, in turn, on the same cores.

    python benchmarks/answers.py --workdir runs/quickstart
    python benchmarks/answers.py --workdir runs/quickstart --baseline-python OTHER/.venv/bin/python \\
      --baseline-directory OTHER --baseline-workdir OTHER/runs/quickstart

A step answers all prompts: the first ``--prompts`` of a split of the run, as texts. It includes the tokenizer in both
directions, and excludes loading and compilation, for each side answers all prompts once before the first round. All
sides have the same weights, beam size, length penalty and limit of tokens. They take 16 prompts at a time, as
config.decode.batch_size says, sorted by length.

At several beams a search ends when patience times beam_size hypotheses have ended; patience is the number of beams in
one table, and 1 in another. A search of this project without patience ends when no live hypothesis can win; it has a
row of its own.

Prompt lookup is off, but for a row of greedy search with drafts of ``--drafts`` tokens. Another table compares lookup
on and off where one prompt is answered at a time. Steps are those of the decoder, each of all rows of a program.

CTranslate2 answers with the run's own export in float32, which is made first. It works on one batch of 16 with all
cores, or on a smaller batch with each core, 16 prompts together. It chooses its instruction set by itself; where the
processor has AVX-512, it is also measured with ``CT2_FORCE_CPU_ISA=AVX512``.

The other commit is a checkout with an environment and a run of its own, with the same weights. Its search has the
settings of that run, but for the beam size.
"""

from __future__ import annotations

import argparse
import ast
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import _ctranslate2
import _rounds
from _prompts import prompt_options, prompts_of

from t2c_jax import console

Answered = tuple[list[str], list[bool], int]  # texts, which of them ended within the limit of tokens, our steps
EACH_CORE = "a batch on each core"
LARGER_VECTORS = {"CT2_FORCE_CPU_ISA": "AVX512"}


class Table(NamedTuple):
    """Searches that are compared.

    Attributes:
      name: of the table.
      beams: of a search.
      patience: 0 where there is one beam.
      is_alone: one prompt is answered at a time, by this project alone.
    """

    name: str
    beams: int
    patience: int
    is_alone: bool = False


def tables_of(options: argparse.Namespace) -> list[Table]:
    """Greedy search, of many prompts and of one; and beam search with much patience and with little."""
    beams, name = options.beams, f"beam {options.beams}"
    greedy = [Table("greedy", 1, 0), Table("greedy, one prompt at a time", 1, 0, is_alone=True)]
    return [*greedy, Table(name, beams, beams), Table(f"{name}, patience 1", beams, 1)]


def with_peers(options: argparse.Namespace) -> list[Table]:
    """Tables with rows of others."""
    return [table for table in tables_of(options) if not table.is_alone]


def tasks(
    options: argparse.Namespace, answer: Mapping[str, Callable[[list[str]], Answered]]
) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """A step for each function that answers prompts, and what it answered last."""
    prompts = json.loads(options.prompts_file.read_text("utf-8"))
    facts: dict[str, Any] = {}

    def task(name: str) -> _rounds.Task:
        def step() -> float:
            facts[name] = answer[name](prompts)
            return float(len(prompts))

        return step

    return {name: task(name) for name in answer}, facts


def ours(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """This project, and the rows of ``--also``."""
    from t2c_jax import config as configs
    from t2c_jax.checkpoints.saved_run import SavedRun
    from t2c_jax.decode.loading import load_generator
    from t2c_jax.workdir import Workdir

    config = configs.load(str(Workdir(options.workdir).config))
    _, generator = load_generator(SavedRun.open(options.workdir), config.decode, config.mesh)

    def answering(*, is_alone: bool, **settings: Any) -> Callable[[list[str]], Answered]:
        def answer(prompts: list[str]) -> Answered:
            before = generator.steps
            parts = [[prompt] for prompt in prompts] if is_alone else [prompts]
            found = [one for part in parts for one in generator.generate(part, replace(config.decode, **settings))]
            return [one.best for one in found], [one.finished for one in found], generator.steps - before

        return answer

    answer: dict[str, Callable[[list[str]], Answered]] = {}
    for table in tables_of(options):
        own: dict[str, Any] = {"beam_size": table.beams, "patience": float(table.patience), "prompt_lookup": 0}
        own["is_alone"] = table.is_alone
        answer[table.name] = answering(**own)
        for settings in also_of(options, table):
            answer[f"{table.name}: {settings}"] = answering(**{**own, **parsed(settings)})
    return tasks(options, answer)


def also_of(options: argparse.Namespace, table: Table) -> list[str]:
    """Settings of a table's other rows of ours."""
    exact = ["patience=0.0"] if table.patience > 1 else []
    exact += [f"prompt_lookup={options.drafts}"] if table.beams == 1 else []
    return exact + [settings for name, settings in options.also if name == table.name]


def parsed(settings: str) -> dict[str, Any]:
    """``NAME=VALUE,NAME=VALUE`` as fields of config.decode."""
    result: dict[str, Any] = {}
    for item in settings.split(","):
        name, _, value = item.partition("=")
        try:
            result[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            result[name] = value
    return result


def baseline(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """Another commit; runs in its environment, and uses only what commits since November 2026 have."""
    from t2c_jax import config as configs
    from t2c_jax.workdir import Workdir

    workdir = Workdir(options.baseline_workdir)

    def answering(beams: int) -> Callable[[list[str]], Answered]:
        try:
            from t2c_jax import open_run
        except ImportError:  # a commit without the library
            from t2c_jax.decode.load import load_generator

            experiment = configs.load(str(workdir.config), [f"decode.beam_size={beams}"])
            generate = load_generator(experiment, workdir)[1].generate
        else:
            run = open_run(options.baseline_workdir)

            def generate(prompts: list[str]) -> Any:
                return run.generate(prompts, beam_size=beams)

        def answer(prompts: list[str]) -> Answered:
            found = generate(prompts)
            return [one.best for one in found], [one.finished for one in found], 0

        return answer

    return tasks(options, {table.name: answering(table.beams) for table in with_peers(options) if table.patience != 1})


def ctranslate2(options: argparse.Namespace) -> tuple[dict[str, _rounds.Task], dict[str, Any]]:
    """CTranslate2 on the export."""
    from ctranslate2 import Translator

    from t2c_jax import config as configs
    from t2c_jax.workdir import Workdir

    decode = configs.load(str(Workdir(options.workdir).config)).decode
    vocabulary = _ctranslate2.Vocabulary(options.workdir, options.exported)
    cores = options.threads
    batches = {1: decode.batch_size, cores: max(1, decode.batch_size // cores)}  # of each of so many at once
    made = {
        count: Translator(
            str(options.exported),
            device="cpu",
            compute_type="float32",
            inter_threads=count,
            intra_threads=max(1, cores // count),
        )
        for count in batches
    }

    def answering(beams: int, patience: int, count: int) -> Callable[[list[str]], Answered]:
        def answer(prompts: list[str]) -> Answered:
            sources = vocabulary.sources(prompts)
            order = sorted(range(len(sources)), key=lambda row: -len(sources[row]))
            found = made[count].translate_batch(
                [sources[row] for row in order],
                max_batch_size=batches[count],
                **_ctranslate2.search_arguments(decode, beams, patience),
            )
            texts, ended = [""] * len(prompts), [False] * len(prompts)
            for row, result in zip(order, found, strict=True):
                texts[row], ended[row] = vocabulary.text(result.hypotheses[0])
            return texts, ended, 0

        return answer

    answer = {}
    for table in with_peers(options):
        answer[table.name] = answering(table.beams, table.patience, 1)
        if cores > 1:
            answer[f"{table.name}: {EACH_CORE}"] = answering(table.beams, table.patience, cores)
    return tasks(options, answer)


def has_avx512() -> bool:
    """Whether the processor has AVX-512."""
    info = Path("/proc/cpuinfo")
    return info.exists() and " avx512f " in info.read_text()


def sides_of(options: argparse.Namespace, table: Table) -> list[_rounds.Side]:
    """The sides of a table, ours first."""
    sides = [_rounds.ours(f"t2c_jax, {table.name}", task=table.name)]
    sides += [
        _rounds.ours(f"t2c_jax, {table.name}: {settings}", task=f"{table.name}: {settings}")
        for settings in also_of(options, table)
    ]
    if table.is_alone:
        return sides
    if options.baseline_workdir and table.patience != 1:
        own = _rounds.ours(f"baseline, {table.name}", "baseline", table.name)
        place = ("PYTHONPATH", str(options.baseline_directory.resolve()))
        sides.append(replace(own, python=str(options.baseline_python), environment=(*own.environment, place)))
    names = [table.name] + ([f"{table.name}: {EACH_CORE}"] if options.threads > 1 else [])
    peers = [_rounds.Side(f"CTranslate2, {name}", "ctranslate2", name) for name in names]
    sides += peers
    if has_avx512():
        sides += [
            replace(peer, name=f"{peer.name}, AVX-512", environment=tuple(LARGER_VECTORS.items())) for peer in peers
        ]
    return sides


def compare_answers(
    options: argparse.Namespace, sides: Sequence[_rounds.Side], answers: Mapping[str, Answered], table: dict[str, Any]
) -> None:
    """Prints what the sides answered, and adds it to the table of their times.

    Tokens are those of the answer's text and the end token, whichever tokens a search found it as.
    """
    from t2c_jax import config as configs
    from t2c_jax.tokenizers.loading import Tokenizers
    from t2c_jax.workdir import Workdir

    workdir = Workdir(options.workdir)
    direction = configs.load(str(workdir.config)).data.direction
    tokenizer = Tokenizers.load(workdir.tokenizer, direction).target
    expected = answers[sides[0].name][0]
    rows = []
    for side in sides:
        texts, ended, steps = answers[side.name]
        tokens = sum(len(ids) + 1 for ids in tokenizer.encode_batch(texts))
        found = {
            "answers": len(texts),
            "equal": sum(a == b for a, b in zip(texts, expected, strict=True)),
            "ended": sum(ended),
            "tokens": tokens,
            "steps": steps,
            "tokens_per_second": tokens / table[side.name]["seconds_per_step"],
        }
        table[side.name] |= found
        rows.append(
            (
                side.name,
                f"{found['equal']:,} of {len(texts):,}",
                f"{sum(ended):,}",
                f"{tokens / len(texts):.1f}",
                f"{steps:,}" if steps else "",
                f"{found['tokens_per_second']:,.0f}",
            )
        )
    console.table("answers", ("", "equal to ours", "ended", "tokens each", "steps", "tokens/s"), rows)


def main() -> None:
    parser = _rounds.parser(__doc__)
    parser.set_defaults(rounds=5, steps=1)
    prompt_options(parser, 256)
    parser.add_argument("--drafts", type=int, default=4, help="of the rows with prompt lookup (default: %(default)s)")
    parser.add_argument("--beams", type=int, default=4, help="of the beam searches (default: %(default)s)")
    parser.add_argument(
        "--also",
        nargs=2,
        action="append",
        default=[],
        metavar=("TABLE", "NAME=VALUE,..."),
        help='another row of ours: "greedy", "beam 4" or "beam 4, patience 1", and fields of config.decode;'
        " may be repeated",
    )
    parser.add_argument("--baseline-python", type=Path, help="the Python of the other commit's environment")
    parser.add_argument("--baseline-directory", type=Path, help="the other commit's checkout")
    parser.add_argument("--baseline-workdir", help="a run that the other commit opens, with the same weights")
    parser.add_argument("--exported", type=Path, help="the run in CTranslate2's format (default: it is exported)")
    parser.add_argument("--prompts-file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        workers = {"ours": ours, "baseline": baseline, "ctranslate2": ctranslate2}
        _rounds.serve(workers[options.worker], options, long=True)
        return
    given = [options.baseline_python, options.baseline_directory, options.baseline_workdir]
    if any(given) and not all(given):
        parser.error("--baseline-python, --baseline-directory and --baseline-workdir go together")
    tables = tables_of(options)
    names = [table.name for table in tables]
    if wrong := [name for name, _ in options.also if name not in names]:
        parser.error(f"--also {wrong[0]!r}: the tables are {', '.join(map(repr, names))}")
    about = _rounds.machine()
    with tempfile.TemporaryDirectory() as scratch:
        extra = ["--prompts-file", f"{scratch}/prompts.json"]
        Path(scratch, "prompts.json").write_text(json.dumps(prompts_of(options)), "utf-8")
        if options.exported is None:
            options.exported = Path(scratch) / "exported"
            _ctranslate2.export(options.workdir, options.exported)
            extra += ["--exported", str(options.exported)]
        sides = {table.name: sides_of(options, table) for table in tables}
        measured = [side for table in sides.values() for side in table]
        turns, facts = _rounds.measure(measured, options.rounds, extra)
    results = {}
    for table, (own, *peers) in sides.items():
        results[table] = _rounds.compare(table, "prompts", turns, options.steps, peers, own)
        answers = {side.name: facts[side.worker][side.task] for side in sides[table]}
        compare_answers(options, sides[table], answers, results[table])
    _rounds.report(options, about, results)


if __name__ == "__main__":
    main()
