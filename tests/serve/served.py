"""A server in this process, over the tiny model that knows ``tiny_generators.PAIRS`` by heart."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openai

from t2c_jax.serve.http_app import application
from t2c_jax.serve.http_server import HttpServer, listening, url_of
from t2c_jax.serve.measures import Measured, Measures
from t2c_jax.serve.served_model import ServedModel
from t2c_jax.serve.server_settings import ServerSettings

KEY = "a-key-of-twenty-letters"


@dataclass
class Served:
    """A server that runs."""

    url: str
    models: dict[str, ServedModel]
    measures: Measures

    @property
    def model(self) -> ServedModel:
        """What answers now."""
        return self.models["tiny"]

    def client(self, key: str = KEY, **options: Any) -> openai.OpenAI:
        """OpenAI's own client."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=120, **options)


@contextlib.contextmanager
def serving(
    generator: Any, settings: ServerSettings | None = None, page: str = "", drain: float = 5, **options: Any
) -> Iterator[Served]:
    """A server over a generator."""
    measures = Measures()
    models = {"tiny": ServedModel("tiny", generator, observer=Measured(measures, "tiny"), **options)}
    bound = listening("127.0.0.1", 0)
    app = application(models, settings or ServerSettings(), measures, page)
    server = HttpServer(app, drain, lambda: models["tiny"].close(drain=False))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[bound])))
    thread.start()
    try:
        yield Served(url_of(bound), models, measures)
    finally:
        server.should_exit = True
        thread.join()
        models["tiny"].close(drain=False)
        bound.close()


def post(served: Served, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any, Any]:
    """Status, headers and JSON of a request, whatever the status."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        served.url + path, content, {"Content-Type": "application/json", **(headers or {})}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, json.loads(error.read())


def until(holds: Any, seconds: float = 60) -> None:
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never held"
        time.sleep(0.01)
