"""The HTTP interface: OpenAI's endpoints, health, metrics and the page."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from t2c_jax.serve import api_bodies, api_fields, infill
from t2c_jax.serve.answering import Answering
from t2c_jax.serve.api_bodies import Bodies, ChatBodies, encoded
from t2c_jax.serve.api_errors import ApiError
from t2c_jax.serve.api_fields import Asked
from t2c_jax.serve.http_guard import Guard, error_response
from t2c_jax.serve.infill import InfillBodies
from t2c_jax.serve.measures import CONTENT_TYPE, Measures
from t2c_jax.serve.scheduler import Scheduler
from t2c_jax.serve.served_model import ServedModel
from t2c_jax.serve.server_settings import ServerSettings

T = TypeVar("T")
_READ_SECONDS = 30.0  # for a client to read what was sent
_Parse = Callable[[Mapping[str, Any], ServedModel], Asked]


class Gone(Exception):
    """The client has closed its connection."""


class Api:
    """The endpoints."""

    def __init__(self, models: Mapping[str, ServedModel], settings: ServerSettings, measures: Measures) -> None:
        """Of some models, the first of which answers requests that name none.

        Nothing else keeps them: one that a ``Follower`` replaces is gone when its last request is.
        """
        self._models, self._settings, self._measures = models, settings, measures
        for name in models:
            measures.watch(name, functools.partial(self._scheduler, name))

    def routes(self) -> list[Route]:
        """Paths and what answers them."""
        return [
            Route("/health", self.health),
            Route("/ready", self.ready),
            Route("/metrics", self.metrics),
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.model),
            Route("/v1/completions", self.completions, methods=["POST"]),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/fim/completions", self.fim, methods=["POST"]),
            Route("/infill", self.infill, methods=["POST"]),
            Route("/v1/embeddings", self.embeddings, methods=["POST"]),
        ]

    async def health(self, request: Request) -> Response:
        """Whether the process answers at all."""
        return _json({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Whether requests are answered without waiting for a compiler."""
        waiting = [name for name in self._models if not self._model(name).is_ready]
        if waiting:
            raise ApiError(503, f"not ready yet: {', '.join(waiting)}", code="not_ready", headers={"Retry-After": "1"})
        return _json({"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """Prometheus' text format."""
        return Response(self._measures.text(), media_type=CONTENT_TYPE)

    async def models(self, request: Request) -> Response:
        """All models."""
        return _json({"object": "list", "data": [api_bodies.model_card(self._model(name)) for name in self._models]})

    async def model(self, request: Request) -> Response:
        """One of them."""
        return _json(api_bodies.model_card(self._model(request.path_params["name"])))

    async def completions(self, request: Request) -> Response:
        """Answers to prompts."""

        def parse(fields: Mapping[str, Any], model: ServedModel) -> Asked:
            return api_fields.completion(fields, model.settings, _seed(), fills=model.fills)

        return await self._answered(request, parse, Bodies, "cmpl-")

    async def chat(self, request: Request) -> Response:
        """An answer to the last message."""

        def parse(fields: Mapping[str, Any], model: ServedModel) -> Asked:
            ignores = self._settings.ignores_system
            return api_fields.chat(fields, model.settings, _seed(), ignores_system=ignores)

        return await self._answered(request, parse, ChatBodies, "chatcmpl-")

    async def fim(self, request: Request) -> Response:
        """Code for a gap, as Mistral's clients ask for it; answered in the shape of a chat."""

        def parse(fields: Mapping[str, Any], model: ServedModel) -> Asked:
            return infill.fim(fields, model.settings, _seed())

        return await self._answered(request, parse, ChatBodies, "fim-")

    async def infill(self, request: Request) -> Response:
        """Code for a gap, as llama.cpp's clients ask for it."""

        def parse(fields: Mapping[str, Any], model: ServedModel) -> Asked:
            return infill.llama_infill(fields, model.settings, _seed())

        fields = await _fields(request)
        if infill.is_warm_up(fields):
            model = self._model(fields.get("model"))
            model.check_fills()
            return _json(infill.nothing(model.name))
        bodies = functools.partial(InfillBodies, response_fields=infill.response_fields(fields))
        return await self._answered(request, parse, bodies, "infill-", fields)

    async def embeddings(self, request: Request) -> Response:
        """Vectors of texts."""
        fields = await _fields(request)
        model = self._model(fields.get("model"))
        texts, as_base64 = api_fields.embedding_inputs(fields)
        vectors, tokens = await _until_gone(request, asyncio.to_thread(model.embeddings, texts))
        request.state.notes.update(model=model.name, client=request.state.client, prompt_tokens=tokens)
        return _json(api_bodies.embeddings(model, vectors, tokens, as_base64=as_base64))

    async def _answered(
        self,
        request: Request,
        parse: _Parse,
        bodies: Callable[..., Bodies],
        prefix: str,
        fields: dict[str, Any] | None = None,
    ) -> Response:
        fields = await _fields(request) if fields is None else fields
        while True:
            model = self._model(fields.get("model"))
            asked = parse(fields, model)
            is_quick = model.is_quick(asked)
            prompts = model.prompts_of(asked) if is_quick else await asyncio.to_thread(model.prompts_of, asked)
            seconds = min(self._settings.deadline, asked.timeout or self._settings.deadline)
            client, deadline = request.state.client, time.monotonic() + seconds
            try:
                answering = Answering(model, prompts, client, deadline, streams=asked.streams)
                break
            except ApiError:
                if self._models[model.name] is model:
                    raise  # else a later checkpoint answers since
        made = bodies(prefix + request.state.id, int(time.time()), model, asked, prompts)
        if asked.streams:
            return _EventStream(self._events(request, model, answering, made), answering)
        try:
            choices = await _until_gone(request, answering.choices())
        finally:
            answering.cancel()
        made.discard(answering.discarded)
        body = made.whole(choices)
        self._count(request, model, made)
        return _json(body)

    async def _events(
        self, request: Request, model: ServedModel, answering: Answering, made: Bodies
    ) -> AsyncIterator[bytes]:
        try:
            async for piece in answering.pieces():
                if events := made.events(piece):
                    yield b"".join(events)
            made.discard(answering.discarded)
            yield b"".join(made.last_events())
        except ApiError as error:  # the status is sent already
            request.state.notes["error"] = error.code or error.status
            yield api_bodies.event(error.body)
        finally:
            self._count(request, model, made)

    def _count(self, request: Request, model: ServedModel, made: Bodies) -> None:
        usage = made.usage()
        request.state.notes.update(model=model.name, client=request.state.client, **usage)
        self._measures.prompt_tokens.labels(model.name).inc(usage["prompt_tokens"])
        self._measures.tokens.labels(model.name).inc(usage["completion_tokens"])

    def _model(self, name: Any) -> ServedModel:
        if name is None:
            name = next(iter(self._models))
        if not isinstance(name, str) or name not in self._models:
            known = ", ".join(self._models)
            raise ApiError(404, f"there is no such model; there is {known}", param="model", code="model_not_found")
        return self._models[name]

    def _scheduler(self, name: str) -> Scheduler:
        return self._models[name].scheduler


class _EventStream(Response):
    """Server-sent events, until they end, or the client goes or stops to read."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], answering: Answering) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})  # a proxy before us sends them on at once
        del self.headers["content-length"]
        self._events, self._answering = events, answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._stop_when_gone, receive, group.cancel_scope)
                await self._send_all(send)
                group.cancel_scope.cancel()
        finally:
            self._answering.cancel()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with contextlib.aclosing(self._events) as events:  # type: ignore[type-var]
            async for event in events:
                async with asyncio.timeout(_READ_SECONDS):
                    await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @staticmethod
    async def _stop_when_gone(receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()


def application(
    models: Mapping[str, ServedModel], settings: ServerSettings, measures: Measures, page: str = ""
) -> ASGIApp:
    """The server as an ASGI application, of models by their names."""
    api = Api(models, settings, measures)
    routes = api.routes()
    if page:
        content = page.encode("utf-8")

        async def shown(request: Request) -> Response:
            return Response(content, media_type="text/html; charset=utf-8")

        async def no_icon(request: Request) -> Response:
            return Response(status_code=204)

        routes += [Route("/", shown), Route("/favicon.ico", no_icon)]
    handlers = {HTTPException: _unknown, ApiError: _refused, ClientDisconnect: _gone, Gone: _gone}
    app: ASGIApp = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]
    app = Guard(app, settings, measures, frozenset(route.path for route in routes))
    if settings.origins:
        app = CORSMiddleware(
            app, settings.origins, allow_methods=("GET", "POST"), allow_headers=("Authorization", "Content-Type")
        )
    return app


async def _fields(request: Request) -> dict[str, Any]:
    """The fields of a request.

    Raises:
      ApiError: it is no JSON.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":  # a form of another site could send the rest without being asked
        raise ApiError(415, "the body must be JSON: send the header 'Content-Type: application/json'")
    return api_fields.parsed(await request.body())


async def _until_gone(request: Request, answer: Coroutine[Any, Any, T]) -> T:
    """The answer, or nothing once the client has closed its connection.

    Raises:
      Gone: it has.
    """

    async def gone() -> None:
        while True:
            message: Message = await request.receive()
            if message["type"] == "http.disconnect":
                return

    tasks = asyncio.ensure_future(answer), asyncio.ensure_future(gone())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            return tasks[0].result()
        raise Gone
    finally:
        for task in tasks:
            task.cancel()


def _json(value: Any) -> Response:
    return Response(encoded(value), media_type="application/json")


async def _unknown(request: Request, error: HTTPException) -> Response:
    what = {404: f"there is no '{request.url.path[:100]}'", 405: f"{request.method} is not what this is asked with"}
    return error_response(ApiError(error.status_code, what.get(error.status_code, error.detail)))


async def _refused(request: Request, error: ApiError) -> Response:
    return error_response(error)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


def _seed() -> int:
    return secrets.randbits(63)
