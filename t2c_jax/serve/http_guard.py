"""What every request passes: who asks and from where, how much is sent, how it is counted and logged."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from t2c_jax.serve.api_bodies import encoded
from t2c_jax.serve.api_errors import ApiError
from t2c_jax.serve.measures import Measures
from t2c_jax.serve.server_settings import ServerSettings

log = logging.getLogger("t2c.serve")
_OPEN = ("/", "/health", "/ready", "/favicon.ico")  # tell nothing that a key should guard
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """An ASGI application around another: it refuses, counts and logs."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, measures: Measures, endpoints: frozenset[str]) -> None:
        """Guards ``app``; other paths than ``endpoints`` are counted as one."""
        self._app, self._settings, self._measures, self._endpoints = app, settings, measures, endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.monotonic(), 0
        identity = uuid.uuid4().hex
        scope["state"] = {**scope.get("state", {}), "id": identity, "notes": {}}
        notes: dict[str, Any] = scope["state"]["notes"]

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = {**_HEADERS, "X-Request-Id": identity}
                own = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((k.lower().encode(), v.encode()) for k, v in added.items() if k.lower().encode() not in own),
                ]
            await send(message)

        try:
            scope["state"]["client"] = self._admitted(scope)
            await self._app(scope, self._limited(scope, receive), sending)
        except ApiError as error:
            if not status:
                await error_response(error)(scope, receive, sending)
        except Exception as error:
            log.error("request %s failed", identity, exc_info=error)
            if not status:
                failed = ApiError(500, f"the server failed to answer; its log has the request {identity}")
                await error_response(failed)(scope, receive, sending)
        finally:
            path = scope["path"] if scope["path"] in self._endpoints else "other"
            seconds = time.monotonic() - begin
            self._measures.requests.labels(path, status or 499).inc()  # 499: the client has gone
            self._measures.request_seconds.labels(path).observe(seconds)
            line = {"request": identity, "method": scope["method"], "path": scope["path"], "status": status or 499}
            log.info(json.dumps({**line, "seconds": round(seconds, 4), **notes}))

    def _admitted(self, scope: Scope) -> str:
        """A name for who asks.

        Raises:
          ApiError: the request is for another server, or has no key.
        """
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = _without_port(headers.get("host", ""))
        if self._settings.hosts and host not in self._settings.hosts:
            raise ApiError(403, f"this server does not answer for '{host[:100]}'; start it with --allow-host NAME")
        address = scope["client"][0] if scope.get("client") else ""
        if self._settings.keys is None or scope["path"] in _OPEN or scope["method"] == "OPTIONS":
            return address
        scheme, _, key = headers.get("authorization", "").partition(" ")
        client = self._settings.keys.client(key.strip()) if scheme.lower() == "bearer" else None
        if client is None:
            raise ApiError(
                401,
                "the API key is missing or wrong; send it as 'Authorization: Bearer KEY'",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return client

    def _limited(self, scope: Scope, receive: Receive) -> Callable[[], Awaitable[Message]]:
        """Refuses a body as soon as it is known to be too large."""
        most, length = self._settings.largest_body, 0
        too_large = ApiError(
            413, f"the body is larger than {most} bytes", code="body_too_large", headers={"Connection": "close"}
        )
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and (len(value) > 18 or int(value) > most):
                raise too_large

        async def receiving() -> Message:
            nonlocal length
            message = await receive()
            length += len(message.get("body", b""))
            if length > most:
                raise too_large
            return message

        return receiving


def error_response(error: ApiError) -> Response:
    """An error as a response."""
    return Response(encoded(error.body), error.status, error.headers, "application/json")


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()
