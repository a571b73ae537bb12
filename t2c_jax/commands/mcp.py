"""``t2c mcp``."""

from __future__ import annotations

import importlib.util
import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2c_jax.errors import UserError

if TYPE_CHECKING:
    from t2c_jax.serve.served_model import ServedModel

SUMMARY = "answers as a tool of the Model Context Protocol, over standard input and output, for agents and editors"


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--workdir", metavar="DIR[@N]", help="the run that answers, or one checkpoint of it")
    where.add_argument("--url", metavar="URL", help="a running t2c serve that answers, such as http://127.0.0.1:8000")
    parser.add_argument("--model", metavar="NAME", help="with --url: the server's model (default: its first one)")
    parser.add_argument("--api-key", metavar="FILE", help="with --url: a file with the key that the server asks for")


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status; the client ends it by closing standard input."""
    if options.workdir and (options.model or options.api_key):
        raise UserError("--model and --api-key are of a server; leave them out, or name it with --url")
    if options.url and options.overrides:
        raise UserError(f"--config.{options.overrides[0]} changes a run; set it where t2c serve is started")
    for name in ("mcp", "starlette", "prometheus_client"):
        if importlib.util.find_spec(name) is None:
            raise UserError(f"t2c mcp needs {name}; pip install 't2c-jax[mcp]'")
    import anyio
    import httpx2

    if options.url:
        url = options.url.rstrip("/").removesuffix("/v1")
        if not url.startswith(("http://", "https://")):
            raise UserError(f"--url {options.url} is none; it begins with http:// or https://")
        headers = {"Authorization": f"Bearer {_key(options.api_key)}"} if options.api_key else {}
        anyio.run(_serve, httpx2.AsyncClient(base_url=url, headers=headers, timeout=None), options.model)
        return 0
    model, transport = _within_process(options)
    anyio.run(_serve, httpx2.AsyncClient(base_url="http://localhost", transport=transport, timeout=None), None)
    model.close(drain=False)
    if model.scheduler.is_compiling:  # which nothing can interrupt
        sys.stdout.flush()
        os._exit(0)
    return 0


async def _serve(client: Any, model: str | None) -> None:
    from t2c_jax.serve.mcp_server import CodeTools, card_of

    async with client:
        await CodeTools(client, await card_of(client, model)).server().run_stdio_async()


def _within_process(options: Namespace) -> tuple[ServedModel, Any]:
    """A run's model, which gets ready meanwhile, and what sends requests to it."""
    import threading

    import httpx2

    from t2c_jax import runtime
    from t2c_jax.library.run import open_run
    from t2c_jax.library.serving import served_model
    from t2c_jax.serve.http_app import application
    from t2c_jax.serve.measures import Measured, Measures
    from t2c_jax.serve.server_settings import ServerSettings
    from t2c_jax.workdir import at_step

    runtime.keep_compiled()
    runtime.connect()
    path, step = at_step(options.workdir)
    opened, measures = open_run(path, step, overrides=options.overrides), Measures()
    name = Path(os.path.abspath(path)).name
    model = served_model(name, opened, 256, Measured(measures, name))
    threading.Thread(target=model.warm_up, daemon=True).start()
    return model, httpx2.ASGITransport(application({name: model}, ServerSettings(), measures))


def _key(path: str) -> str:
    try:
        words = Path(path).read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UserError(f"--api-key '{path}' cannot be read: {what}") from None
    if len(words) != 1:
        raise UserError(f"--api-key '{path}' must hold one key, and nothing else")
    return words[0]
