"""The plain server that one would write around CTranslate2: the peer of ``serve.py``.

Starlette on uvicorn. Requests are gathered for up to 10 ms or 16 prompts and answered together; as many batches at once
as CTranslate2 has workers. A greedy answer is streamed token by token from CTranslate2's callback; a beam search gives
none before its end, so such an answer is one event.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import _ctranslate2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

GATHERED = 16
SECONDS = 0.01


@dataclass(eq=False)
class Asked:
    """A prompt that waits; the queue gets its tokens, then its answer."""

    prompt: str
    streams: bool
    events: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)


class Batches:
    """Gathers prompts, and translates them."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Loads the model."""
        from ctranslate2 import Translator

        from t2c_jax import config as configs
        from t2c_jax.workdir import Workdir

        decode = configs.load(str(Workdir(options.workdir).config)).decode
        self._arguments = _ctranslate2.search_arguments(decode, options.beams, options.patience)
        self._greedy = options.beams == 1
        self.vocabulary = _ctranslate2.Vocabulary(options.workdir, options.exported)
        self._translator = Translator(
            str(options.exported),
            device="cpu",
            compute_type="float32",
            inter_threads=options.workers,
            intra_threads=options.worker_threads,
        )
        self.waiting: asyncio.Queue[Asked] = asyncio.Queue()
        self._free = asyncio.Semaphore(options.workers)
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Gathers for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await self._free.acquire()
            batch = [await self.waiting.get()]
            until = loop.time() + SECONDS
            while len(batch) < GATHERED:
                try:
                    async with asyncio.timeout_at(until):
                        batch.append(await self.waiting.get())
                except TimeoutError:
                    break
            task = asyncio.create_task(self._answer(batch))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _answer(self, batch: list[Asked]) -> None:
        try:
            found = await asyncio.to_thread(self._translated, batch, asyncio.get_running_loop())
        finally:
            self._free.release()
        for asked, answer in zip(batch, found, strict=True):
            asked.events.put_nowait(answer)

    def _translated(self, batch: list[Asked], loop: asyncio.AbstractEventLoop) -> list[tuple[str, int, bool]]:
        def step(result: Any) -> bool:
            asked = batch[result.batch_id]
            if asked.streams:
                loop.call_soon_threadsafe(asked.events.put_nowait, result.token)
            return False

        streams = self._greedy and any(asked.streams for asked in batch)
        sources = self.vocabulary.sources([asked.prompt for asked in batch])
        found = self._translator.translate_batch(sources, callback=step if streams else None, **self._arguments)
        answers = []
        for result in found:
            text, ended = self.vocabulary.text(result.hypotheses[0])
            answers.append((text, len(result.hypotheses[0]), ended))
        return answers


def application(batches: Batches) -> Starlette:
    """The server."""

    async def completions(request: Request) -> Response:
        fields = json.loads(await request.body())
        asked = Asked(fields["prompt"], bool(fields.get("stream")))
        batches.waiting.put_nowait(asked)
        identity = f"cmpl-{uuid.uuid4().hex}"
        if asked.streams:
            return StreamingResponse(events(asked, identity), media_type="text/event-stream")
        text, tokens, ended = await asked.events.get()
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop" if ended else "length"}
        usage = {"completion_tokens": tokens}
        return JSONResponse({"id": identity, "object": "text_completion", "choices": [choice], "usage": usage})

    async def events(asked: Asked, identity: str) -> AsyncIterator[bytes]:
        tokens: list[str] = []
        sent = ""

        def event(text: str, reason: str | None = None) -> bytes:
            choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
            body = {"id": identity, "object": "text_completion", "choices": [choice]}
            return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"

        while isinstance(found := await asked.events.get(), str):
            tokens.append(found)
            text = batches.vocabulary.text(tokens)[0].rstrip("\ufffd")
            if len(text) > len(sent) and text.startswith(sent):
                yield event(text[len(sent) :])
                sent = text
        text, _, ended = found
        yield event(text[len(sent) :], "stop" if ended else "length")
        yield b"data: [DONE]\n\n"

    return Starlette(routes=[Route("/v1/completions", completions, methods=["POST"])])


async def serve(options: argparse.Namespace) -> None:
    bound = socket.create_server(("127.0.0.1", 0), backlog=1024)
    batches = Batches(options)
    gathering = asyncio.create_task(batches.run())
    config = uvicorn.Config(application(batches), log_config=None, access_log=False, lifespan="off")
    print(json.dumps({"url": f"http://127.0.0.1:{bound.getsockname()[1]}"}), flush=True)
    await uvicorn.Server(config).serve(sockets=[bound])
    gathering.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--exported", type=Path, required=True)
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--patience", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1, help="batches at once")
    parser.add_argument("--worker-threads", type=int, default=1, help="of each")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
