"""The command ``t2c VERB``. Heavy imports wait until a verb needs them, so that ``--help`` is instant."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2c_jax.errors import UserError, nearest

if TYPE_CHECKING:
    from t2c_jax.config import Experiment
    from t2c_jax.workdir import Workdir

VERBS = {
    "run": "all stages in order: mine, tokenizer, prepare, train, evaluate",
    "mine": "sources to a corpus of cleaned (text, code) pairs",
    "tokenizer": "the corpus to a SentencePiece tokenizer, proven lossless",
    "prepare": "corpus and tokenizer to tokens",
    "train": "tokens to checkpoints; goes on from the last one",
    "evaluate": "scores of a checkpoint on held-out pairs",
    "generate": "answers to prompts from the command line, a file or standard input",
    "embed": "unit vectors of texts or code, for search; of runs with an embedding head",
    "inspect": "the parameters of the model that a config describes, and a workdir's checkpoints",
    "compile": "the train step and the search, compiled for a TPU slice that is not here: does it fit, how fast is it",
    "import": "a Hugging Face model directory to a workdir to generate with or to start from",
    "export": "a checkpoint as a Hugging Face or CTranslate2 model directory, proven to be the same model",
}
STAGES = ("mine", "tokenizer", "prepare", "train")


def console_script() -> int:
    """The installed command: ``main`` in a process with the environment that suits it."""
    from t2c_jax import runtime

    if {"-h", "--help"}.isdisjoint(sys.argv):
        runtime.restart_with_environment()
    return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb; returns the exit status: 0, 2 for a mistake of the user's, 128 + n when stopped by signal n."""
    try:
        parsed, overrides = _parse(list(sys.argv[1:] if arguments is None else arguments))
        return _run(parsed, overrides)
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on where this one stopped", 128 + signal.SIGINT)
    except BrokenPipeError:  # the reader of our output went away: nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def _fail(message: str, status: int = 2) -> int:
    print(f"t2c: {message}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="t2c",
        description="Train sequence-to-sequence models that write code from text.",
        epilog="Any value of the config can be set on the command line: --config.train.steps=200",
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, summary in VERBS.items():
        verb = verbs.add_parser(name, help=summary, description=summary, allow_abbrev=False, epilog=parser.epilog)
        if name == "import":
            verb.add_argument("--from", dest="source", metavar="DIR", required=True, help="where the model lies")
        else:
            help_ = "configs/x.py, configs/x.py:ARGUMENT, or by default the workdir's own"
            verb.add_argument("--config", metavar="FILE", help=help_)
        alone = name in ("inspect", "compile")  # a config says enough
        verb.add_argument("--workdir", metavar="DIR", required=not alone, help="everything of one run lies here")
        verb.add_argument("--json", action="store_true", help="print one JSON document to standard output")
        if name in ("evaluate", "generate", "embed", "export"):
            verb.add_argument("--step", type=int, metavar="N", help="checkpoint to use instead of the best")
        if name in ("evaluate", "generate"):
            verb.add_argument(
                "--with",
                dest="others",
                action="append",
                default=[],
                metavar="DIR[@N]",
                help="average with another run's checkpoint, or @N of this one; may be given several times",
            )
        if name in ("evaluate", "generate", "export"):
            verb.add_argument(
                "--average",
                type=int,
                default=1,
                metavar="N",
                help="mean of the parameters of the latest N checkpoints, up to --step",
            )
        if name == "evaluate":
            verb.add_argument(
                "--follow", action="store_true", help="score each checkpoint of a run that trains, until it ends"
            )
        if name in ("run", "train"):
            verb.add_argument("--profile", metavar="START:STOP", help="trace these steps, for tensorboard or xprof")
        if name in ("generate", "embed"):
            verb.add_argument(
                "--input", metavar="FILE", help="a prompt a line, or .jsonl with a 'text' (or 'code'); - is stdin"
            )
            verb.add_argument("text", nargs="*", help="prompts")
        if name == "compile":
            help_ = "a TPU slice, such as v5e:16x16 or v5p:4x4x8; 2*v5e:16x16 is two of them"
            verb.add_argument("--topology", metavar="CHIP:AxB", required=True, help=help_)
            verb.add_argument("--search", action="store_true", help="try meshes, batches and remat, and rank what fits")
        if name == "embed":
            verb.add_argument("--of", choices=("text", "code"), default="text", help="what to read in a .jsonl")
            verb.add_argument("--output", metavar="FILE.npy", help="write the vectors there: an array, a row each")
        if name == "export":
            verb.add_argument("--to", choices=("huggingface", "ctranslate2"), required=True, help="the format")
            verb.add_argument(
                "--output", metavar="DIR", required=True, help="a directory that is not there yet, or empty"
            )
            verb.add_argument("--quantization", choices=("float32", "int8"), default="float32", help="of the weights")
    return parser


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The verb's options, and the ``--config.x.y=value`` overrides as ``x.y=value``."""
    overrides, rest = [], []
    while arguments:
        item = arguments.pop(0)
        if item == "--":
            rest += [item, *arguments]
            break
        if not item.startswith("--config."):
            rest.append(item)
        elif "=" in item:
            overrides.append(item.removeprefix("--config."))
        elif arguments and not arguments[0].startswith("--"):
            overrides.append(f"{item.removeprefix('--config.')}={arguments.pop(0)}")
        else:
            raise UserError(f"{item} has no value; write {item}=VALUE")
    verb = next((item for item in rest if not item.startswith("-")), None)
    if verb is not None and verb not in VERBS:
        raise UserError(f"unknown verb '{verb}'{nearest(verb, VERBS)}; t2c --help lists them")
    return _parser().parse_args(rest), overrides


def _check_local(parsed: argparse.Namespace) -> None:
    from t2c_jax.workdir.remote import is_remote

    for option, name in (("--input", "input"), ("--output", "output"), ("--from", "source")):
        if is_remote(path := getattr(parsed, name, None) or ""):
            raise UserError(f"{option} '{path}': a path of this machine is wanted; URLs are for workdirs and sources")


def _experiment(parsed: argparse.Namespace, workdir: Workdir | None, overrides: Sequence[str]) -> Experiment:
    from t2c_jax.checkpoints.inherit import load as load_config

    if parsed.config:
        return load_config(parsed.config, overrides)
    if workdir is None:
        raise UserError(f"t2c {parsed.verb} wants --workdir DIR or --config FILE")
    if not workdir.config.is_file():
        raise UserError(f"'{workdir.name}' holds no run yet; say --config FILE (see configs/)")
    return load_config(str(workdir.config), overrides)


def _run(parsed: argparse.Namespace, overrides: Sequence[str]) -> int:
    from t2c_jax import runtime

    runtime.quiet()
    if parsed.verb != "compile":  # a program for devices that are not there cannot be loaded again
        runtime.keep_compiled()

    from t2c_jax.workdir import Workdir

    _check_local(parsed)
    if parsed.verb == "compile":
        return _compile(parsed, None if parsed.workdir is None else Workdir(parsed.workdir), overrides)
    if parsed.verb == "inspect":
        return _inspect(parsed, None if parsed.workdir is None else Workdir(parsed.workdir), overrides)
    workdir = Workdir(parsed.workdir)
    if parsed.verb == "import":
        return _import(parsed, workdir, overrides)
    _check_import(parsed.verb, workdir)
    experiment = _experiment(parsed, workdir, overrides)
    if parsed.verb == "export":
        return _export(parsed, experiment, workdir)

    from t2c_jax import console
    from t2c_jax.commands import verbs

    trains = parsed.verb in ("train", "run")
    profile = {"profile": _steps(parsed.profile)} if trains and parsed.profile else {}
    runtime.connect()
    console.console.quiet = not runtime.is_primary()
    if parsed.verb == "generate":
        return _generate(parsed, experiment, workdir)
    if parsed.verb == "embed":
        return _embed(parsed, experiment, workdir)
    if parsed.verb == "evaluate":
        result: Any = _evaluate(parsed, experiment, workdir)
    else:
        with workdir.locked() if runtime.is_primary() else contextlib.nullcontext():
            if trains:
                from t2c_jax.train import mesh_selection as placement

                placement.make_mesh(experiment)  # before any work is done for a run that could not train
            with verbs.saved_config(experiment, workdir):
                result = getattr(verbs, parsed.verb)(experiment, workdir, **profile)
    if parsed.json and runtime.is_primary():
        print(json.dumps(result, ensure_ascii=False))
    trained = result if parsed.verb == "train" else result.get("train", {}) if trains else {}
    stopped = trained.get("stopped_by")
    if stopped is None:
        return 0
    command = f"t2c {parsed.verb} --workdir {parsed.workdir}"
    return _fail(f"saved at step {trained['steps']}; go on with: {command}", 128 + stopped)


def _steps(span: str) -> range:
    """``START:STOP`` as steps, START included and STOP not; the first step is 1.

    Raises:
      UserError: it is no such thing, or names no step.
    """
    start, separator, stop = span.partition(":")
    if not (separator and start.isdecimal() and stop.isdecimal() and 1 <= int(start) < int(stop)):
        raise UserError(f"--profile {span}: write START:STOP, such as 10:15 for the steps 10 to 14")
    return range(int(start), int(stop))


def _evaluate(parsed: argparse.Namespace, experiment: Experiment, workdir: Workdir) -> Any:
    from t2c_jax.evaluate.checkpoints import evaluate_checkpoint, follow_run

    if not parsed.follow:
        return evaluate_checkpoint(experiment, workdir, parsed.step, parsed.others, parsed.average)
    if parsed.step is not None or parsed.others or parsed.average != 1:
        raise UserError("--follow scores each checkpoint alone; leave --step, --with and --average out")
    return follow_run(experiment, workdir)


def _check_import(verb: str, workdir: Workdir) -> None:
    """An imported model stays as it came: runs of it have workdirs of their own, and an encoder cannot answer alone."""
    try:
        whole = workdir.manifest("tokenizer")["counts"].get("whole_model")
    except UserError:  # no tokenizer, so no import
        return
    if whole is False or (whole and verb in ("run", *STAGES)):
        what = "model" if whole else "encoder without a decoder"
        raise UserError(
            f"'{workdir.name}' holds an imported {what}; start a run from it in another --workdir, with"
            f" --config.origin.run={workdir.name}"
        )


def _import(parsed: argparse.Namespace, workdir: Workdir, overrides: Sequence[str]) -> int:
    if overrides:
        raise UserError("t2c import takes no --config: the model's shape is its own; set it for the run that uses it")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # it computes nothing: accelerators are left to others
    from t2c_jax.commands import verbs

    with workdir.locked():
        result = verbs.import_model(Path(parsed.source), workdir)
    if parsed.json:
        print(json.dumps(result, ensure_ascii=False))
    return 0


def _inspect(parsed: argparse.Namespace, workdir: Workdir | None, overrides: Sequence[str]) -> int:
    experiment = _experiment(parsed, workdir, overrides)
    from t2c_jax.commands import inspect as summary

    result = summary.inspect(experiment, workdir)
    if parsed.json:
        print(json.dumps(result, ensure_ascii=False))
    return 0


def _compile(parsed: argparse.Namespace, workdir: Workdir | None, overrides: Sequence[str]) -> int:
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # it runs nothing: accelerators are left to others
    experiment = _experiment(parsed, workdir, overrides)
    from t2c_jax.commands import verbs

    result = verbs.compile_ahead(experiment, workdir, parsed.topology, parsed.search)
    if parsed.json:
        print(json.dumps(result, ensure_ascii=False))
    return 0


def _generate(parsed: argparse.Namespace, experiment: Experiment, workdir: Workdir) -> int:
    from t2c_jax import runtime
    from t2c_jax.commands import verbs

    asked, answered = experiment.data.direction.split("_to_")
    texts = _prompts(parsed, asked)
    answers = verbs.generate(experiment, workdir, texts, parsed.step, parsed.others, parsed.average)
    if not runtime.is_primary():
        return 0
    if parsed.json:
        print(json.dumps(answers, ensure_ascii=False))
    elif sys.stdout.isatty():
        from rich.console import Console
        from rich.syntax import Syntax

        for answer in answers:
            lexer = "python" if answered == "code" else "text"
            Console().print(Syntax(answer[answered], lexer, theme="ansi_dark", background_color="default"))
    elif parsed.input is not None or len(answers) > 1:  # a batch: answers have newlines, so a JSON object a line
        for answer in answers:
            print(json.dumps(answer, ensure_ascii=False))
    else:
        print(answers[0][answered])
    return 0


def _embed(parsed: argparse.Namespace, experiment: Experiment, workdir: Workdir) -> int:
    import numpy as np

    from t2c_jax import runtime
    from t2c_jax.commands import verbs

    output = None if parsed.output is None else Path(parsed.output)
    if output is not None and runtime.is_primary():
        _check_writable(output)
    sources = _prompts(parsed, parsed.of)
    vectors = verbs.embed(experiment, workdir, sources, parsed.step)
    if not runtime.is_primary():
        return 0
    if output is not None:
        from t2c_jax.workdir import disk_errors

        with disk_errors(output, "--output"), output.open("wb") as file:
            np.save(file, vectors)
    rows = [{parsed.of: source, "vector": vector} for source, vector in zip(sources, vectors.tolist(), strict=True)]
    if parsed.json:
        print(json.dumps(rows, ensure_ascii=False))
    elif output is None:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    return 0


def _check_writable(output: Path) -> None:
    """Whether a file can be written, told before the work is done for it."""
    directory = output.absolute().parent
    if output.is_dir() or not directory.is_dir():
        raise UserError(f"--output '{output}': name a file in a directory that is there")
    if not os.access(output if output.exists() else directory, os.W_OK):
        raise UserError(f"--output '{output}' cannot be written; choose another")


def _export(parsed: argparse.Namespace, experiment: Experiment, workdir: Workdir) -> int:
    from t2c_jax.commands import verbs

    output = Path(parsed.output)
    result = verbs.export(experiment, workdir, parsed.to, output, parsed.quantization, parsed.step, parsed.average)
    if parsed.json:
        print(json.dumps(result, ensure_ascii=False))
    return 0


def _prompts(parsed: argparse.Namespace, key: str) -> list[str]:
    from t2c_jax import runtime
    from t2c_jax.decode.prompts import read_prompts

    if parsed.text and parsed.input:
        raise UserError("give prompts either on the command line or with --input, not both")
    if parsed.text:
        try:
            "".join(parsed.text).encode("utf-8")
        except UnicodeEncodeError:
            raise UserError("a prompt on the command line is not UTF-8") from None
        return parsed.text
    if parsed.input is None and runtime.is_primary() and (sys.stdin is None or sys.stdin.isatty()):
        raise UserError(f'no prompt; write t2c {parsed.verb} --workdir DIR "what the code should do", or --input FILE')
    return read_prompts(parsed.input or "-", key)


if __name__ == "__main__":
    sys.exit(console_script())
