"""``t2c serve``."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from t2c_jax.commands.output import print_result
from t2c_jax.errors import UserError

if TYPE_CHECKING:
    from t2c_jax.checkpoints.bases import Bases
    from t2c_jax.serve.following import Follower
    from t2c_jax.serve.measures import Measures
    from t2c_jax.serve.served_model import ServedModel

SUMMARY = "answers over HTTP, as OpenAI's clients and editors ask for them, and a page to try them"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    parser.add_argument("--workdir", metavar="DIR[@N]", help="the run that answers, or one checkpoint of it")
    parser.add_argument(
        "--model",
        dest="models",
        action="append",
        default=[],
        metavar="NAME=DIR[@N]",
        help="a run under a name of its own; may be given several times",
    )
    parser.add_argument(
        "--follow", action="store_true", help="let later checkpoints answer, as a training run saves them"
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="0 for a free one (default: 8000)")
    parser.add_argument("--api-keys", metavar="FILE", help="answer only who sends one of these keys, a key a line")
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="answer requests to this host name, such as a proxy's; may be given several times",
    )
    parser.add_argument(
        "--cors-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of another site ask, such as https://example.org; may be given several times",
    )
    parser.add_argument(
        "--rows", type=int, default=64, metavar="N", help="prompts of a model that are answered at once (default: 64)"
    )
    parser.add_argument(
        "--queue", type=int, default=256, metavar="N", help="prompts of a model that may wait (default: 256)"
    )
    parser.add_argument(
        "--deadline", type=float, default=120.0, metavar="SECONDS", help="for an answer, the wait included"
    )
    parser.add_argument("--max-body", type=int, default=1 << 20, metavar="BYTES", help="of a request (default: 1 MiB)")
    parser.add_argument(
        "--drain", type=float, default=30.0, metavar="SECONDS", help="for running requests at the end (default: 30)"
    )
    parser.add_argument(
        "--ignore-system", action="store_true", help="leave system messages of chats out of prompts, as editors need it"
    )
    parser.add_argument("--json", action="store_true", help="print the address as one JSON document, once it listens")


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status; SIGINT and SIGTERM are how it is meant to end."""
    directories = _directories(options)
    _check(options)
    from t2c_jax import console, runtime

    runtime.keep_compiled()
    try:
        from t2c_jax.serve.http_app import application
        from t2c_jax.serve.http_server import listening, log_to_stderr, serve, url_of
        from t2c_jax.serve.measures import Measures
        from t2c_jax.serve.serve_page import page
        from t2c_jax.serve.server_settings import ServerSettings
    except ModuleNotFoundError as error:
        raise UserError(f"t2c serve needs {error.name}; pip install 't2c-jax[serve]'") from None
    from t2c_jax.serve.api_keys import ApiKeys

    keys = None if options.api_keys is None else ApiKeys.read(options.api_keys)
    settings = ServerSettings(
        keys,
        _hosts(options),
        tuple(options.cors_origin),
        options.max_body,
        options.deadline,
        options.ignore_system,
    )
    bound = listening(options.host, options.port)
    try:
        measures = Measures()
        models, bases = _models(options, directories, measures)
        log_to_stderr()
        console.say(f"serving {', '.join(directories)} at {url_of(bound)}; Ctrl-C stops")
        if keys is None and options.host not in _LOOPBACK:
            console.warn("everybody who reaches this address may ask; --api-keys FILE keeps others out")
        print_result(options, {"url": url_of(bound), "models": list(directories)})
        sys.stdout.flush()  # into a pipe too, whose reader waits for it
        followers = _followers(options, directories, models, bases, measures)
        serve(application(models, settings, measures, page()), bound, models, options.drain, followers)
        if any(model.scheduler.is_compiling for model in models.values()):  # which nothing can interrupt
            sys.stdout.flush()
            os._exit(0)
    finally:
        bound.close()
    return 0


def _models(
    options: Namespace, directories: dict[str, str], measures: Measures
) -> tuple[dict[str, ServedModel], dict[str, Bases | None]]:
    """What answers, and the arrays that each model shares with others."""
    import jax

    from t2c_jax import runtime
    from t2c_jax.library.run import open_run
    from t2c_jax.library.serving import served_model, share_bases
    from t2c_jax.serve.measures import Measured
    from t2c_jax.workdir import at_step

    runtime.connect()
    if jax.process_count() > 1:
        raise UserError("t2c serve is one process; start it on one machine, and others beside it")
    runs = {}
    for name, directory in directories.items():
        path, step = at_step(directory)
        runs[name] = open_run(path, step, overrides=options.overrides)
    share_bases(list(runs.values()))
    models = {
        name: served_model(name, run, options.queue, Measured(measures, name), options.rows)
        for name, run in runs.items()
    }
    return models, {name: run.bases for name, run in runs.items()}


def _followers(
    options: Namespace,
    directories: dict[str, str],
    models: dict[str, ServedModel],
    bases: dict[str, Bases | None],
    measures: Measures,
) -> list[Follower]:
    from t2c_jax.library.serving import follower
    from t2c_jax.serve.measures import Measured

    if not options.follow:
        return []
    return [
        follower(
            models,
            name,
            directory,
            options.overrides,
            bases[name],
            most_waiting=options.queue,
            observer=Measured(measures, name),
            rows=options.rows,
        )
        for name, directory in directories.items()
    ]


def _directories(options: Namespace) -> dict[str, str]:
    """The directory of each model, by its name in requests."""
    found: dict[str, str] = {}
    named = [("", options.workdir)] if options.workdir else []
    for item in options.models:
        name, separator, directory = item.partition("=")
        if not (name and separator and directory):
            raise UserError(f"--model {item}: write NAME=DIR")
        named.append((name, directory))
    for name, directory in named:
        own = name or Path(os.path.abspath(directory.partition("@")[0])).name
        if own in found:
            raise UserError(f"two models are called '{own}'; name them with --model NAME=DIR")
        found[own] = directory
    if not found:
        raise UserError("t2c serve needs --workdir DIR, or --model NAME=DIR")
    return found


def _hosts(options: Namespace) -> tuple[str, ...]:
    """The host names that are answered: all where other machines may ask, unless some are named."""
    from t2c_jax.serve.server_settings import LOCAL_NAMES

    named = tuple(name.lower() for name in options.allow_host)
    return (*LOCAL_NAMES, *named) if named or options.host in _LOOPBACK else ()


def _check(options: Namespace) -> None:
    if not 0 <= options.port <= 65535:
        raise UserError(f"--port {options.port} is no port; use 1024 to 65535, or 0 for a free one")
    for name in ("rows", "queue", "deadline", "max_body", "drain"):
        if not getattr(options, name) > 0:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)} must be above 0")
    named = [options.workdir or "", *options.models] if options.follow else []
    if at := [directory for directory in named if "@" in directory]:
        raise UserError(f"--follow takes over later checkpoints; name the run without @N, not {at[0]}")
