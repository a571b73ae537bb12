"""The process that serves: its socket, its signals and its log."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import uvicorn
from starlette.types import ASGIApp

from t2c_jax.errors import UserError
from t2c_jax.serve.following import Follower
from t2c_jax.serve.served_model import ServedModel

log = logging.getLogger("t2c.serve")
_REFUSING_SECONDS = 2  # for the errors of what could not be answered in time


def listening(host: str, port: int) -> socket.socket:
    """A socket at an address; port 0 is a free one.

    Raises:
      UserError: the address is wrong or in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as opened:
            found = opened.enter_context(socket.socket(family, kind, protocol))
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
            found.listen(1024)
            opened.pop_all()
    except (OSError, OverflowError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot listen at {host}:{port}: {what}; choose another --host or --port") from None
    return found


def url_of(bound: socket.socket) -> str:
    """The address of a socket, for people."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class HttpServer(uvicorn.Server):
    """uvicorn, which ends in peace on SIGINT and SIGTERM: requests that are running are answered first."""

    def __init__(self, app: ASGIApp, drain_seconds: float, refuse: Callable[[], object] = lambda: None) -> None:
        """Answers requests with ``app``.

        Args:
          app: answers.
          drain_seconds: that requests have left at the end.
          refuse: is called after them, in a thread, and ends what runs with an error that clients see.
        """
        self._drain_seconds, self._refuse = drain_seconds, refuse
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=math.ceil(drain_seconds) + _REFUSING_SECONDS,
            timeout_keep_alive=30,
            h11_max_incomplete_event_size=65_536,
            ws="none",
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answers what runs, for as long as it may take, and refuses the rest."""
        refusing = threading.Thread(target=self._refuse, daemon=True)
        timer = asyncio.get_running_loop().call_later(self._drain_seconds, refusing.start)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ends on SIGINT and SIGTERM, and does not raise them again."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(
    app: ASGIApp,
    bound: socket.socket,
    models: Mapping[str, ServedModel],
    drain_seconds: float,
    followers: Sequence[Follower] = (),
) -> None:
    """Answers requests until SIGINT or SIGTERM; models get ready meanwhile, and then later checkpoints of them."""
    threading.Thread(target=_warm_up, args=(models,), daemon=True).start()
    for follower in followers:
        threading.Thread(target=follower.run, daemon=True).start()

    def refuse() -> None:
        for model in models.values():
            model.close(drain=False)

    server = HttpServer(app, drain_seconds, refuse)
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets=[bound]))
    for follower in followers:
        follower.close()
    refuse()


def log_to_stderr() -> None:
    """A JSON object a line on standard error: what the server does, and never a prompt."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    for name, level in (("t2c.serve", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


class _Lines(logging.Formatter):
    """Log records as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"
        line = {"time": stamp, "level": record.levelname.lower()}
        line |= json.loads(message) if message.startswith("{") else {"message": message}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _warm_up(models: Mapping[str, ServedModel]) -> None:
    for name in models:
        begin = time.monotonic()
        try:
            models[name].warm_up()
        except Exception as error:
            log.error("model '%s' cannot get ready", name, exc_info=error)
            continue
        seconds = round(time.monotonic() - begin, 2)
        log.info(json.dumps({"message": "ready", "model": name, "seconds": seconds}))
