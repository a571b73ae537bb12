"""Clients of a server of completions, in a process of their own that does little beside: raw asyncio, one request at a
time on each connection.

A line on standard input is a load as JSON: ``host``, ``port``, ``prompts``, ``clients``, ``streams``, and ``arrivals``
in seconds from the start, or none for a closed loop, in which each client asks again once it has its answer. A line on
standard output is what came of it. Times are in seconds from the start of the load. A request's begins when it arrived,
also where it waited here for a free connection.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import deque
from typing import Any

_FIRST = re.compile(rb'"text": ?"[^"]')  # the first piece of an answer
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """A connection that is kept, with one request at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self.transport: Any = transport
        self.answered: asyncio.Future[bytes] | None = None

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """Sends a request; the future is of the whole response."""
        self._content, self._size, self.first = bytearray(), -1, 0.0
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.answered

    def data_received(self, data: bytes) -> None:
        """A part of the response."""
        content, answered = self._content, self.answered
        if answered is None or answered.done():
            return
        begin = max(0, len(content) - 12)
        content += data
        if not self.first and _FIRST.search(content, begin):
            self.first = time.perf_counter()
        if self._size < 0:
            end = content.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(content, 0, end)
            self._size = end + 4 + int(length[1]) if length else 0  # 0: in chunks
        if len(content) >= self._size if self._size else content.endswith(b"0\r\n\r\n"):
            answered.set_result(bytes(content))

    def connection_lost(self, error: Exception | None) -> None:
        """It was closed, which no server should do."""
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(ConnectionError(f"the server closed a connection: {error}"))


def request_of(load: dict[str, Any], prompt: str) -> bytes:
    """A request for a completion."""
    body = json.dumps({"prompt": prompt, "stream": load["streams"]}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {load['host']}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def text_of(content: bytes) -> str:
    """The text of a response.

    Raises:
      RuntimeError: it is an error.
    """
    head, _, body = content.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200") or b'"error":' in body:
        raise RuntimeError(f"the server refused a request: {content[-300:]!r}")
    if b"text/event-stream" not in head:
        return str(json.loads(body)["choices"][0]["text"])
    events = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: {")]
    return "".join(choice["text"] for event in events for choice in json.loads(event)["choices"])


async def run(load: dict[str, Any]) -> dict[str, Any]:
    """Puts a load on the server."""
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(Connection, load["host"], load["port"]) for _ in range(load["clients"])]
    requests = [request_of(load, prompt) for prompt in load["prompts"]]
    arrivals = load["arrivals"]
    waiting: deque[int] = deque(range(len(requests)) if arrivals is None else ())
    times: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)] * len(requests)
    contents: list[bytes] = [b""] * len(requests)
    ran_out = 0.0
    more = asyncio.Condition()
    open_end = arrivals is not None
    cpu, start = time.process_time(), time.perf_counter()

    async def client(connection: Connection) -> None:
        nonlocal ran_out
        while True:
            if open_end or not waiting:
                async with more:
                    await more.wait_for(lambda: waiting or not open_end)
                    if not waiting:
                        return
                    number = waiting.popleft()
            else:
                number = waiting.popleft()
            begin = time.perf_counter() - start if arrivals is None else arrivals[number]
            contents[number] = await connection.ask(requests[number])
            end = time.perf_counter()
            times[number] = begin, (connection.first or end) - start, end - start
            if not waiting and not open_end and not ran_out:
                ran_out = end - start

    async def arrive() -> None:
        nonlocal open_end
        for number, at in enumerate(arrivals):
            await asyncio.sleep(max(0.0, start + at - time.perf_counter()))
            async with more:
                waiting.append(number)
                more.notify()
        async with more:
            open_end = False
            more.notify_all()

    tasks = [client(connection) for _, connection in opened] + ([arrive()] if open_end else [])
    await asyncio.gather(*tasks)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    for transport, _ in opened:
        transport.close()
    return {
        "times": times,
        "texts": [text_of(content) for content in contents],
        "seconds": wall,
        "ran_out": ran_out,  # from when on not all clients have something to ask
        "cpu_seconds": cpu,
    }


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(asyncio.run(run(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
