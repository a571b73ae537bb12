"""The rows of one request, on the event loop: their events as they come, and an end to them when nobody listens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from t2c_jax.serve.api_errors import ApiError
from t2c_jax.serve.scheduler import Certain, Event, Found, Job, QueueFull, Reason, Unanswered
from t2c_jax.serve.served_model import Choice, ServedModel, ServedPrompt

_STATUS = {Reason.INVALID: 400, Reason.EXPIRED: 504, Reason.FAILED: 500, Reason.CLOSED: 503}


@dataclass(frozen=True)
class Piece:
    """A part of an answer: text that follows what was sent, and at the end the choice.

    Attributes:
      index: of the choice in the response.
      text: the next part of it.
      choice: the whole answer, with its last piece; None before.
    """

    index: int
    text: str
    choice: Choice | None = None


class Answering:
    """Asks a model's scheduler for the answers of a request.

    Attributes:
      discarded: tokens of samples that are no answers, since others are likelier.
    """

    def __init__(
        self, model: ServedModel, prompts: Sequence[ServedPrompt], client: str, deadline: float, *, streams: bool
    ) -> None:
        """Queues the prompts.

        Raises:
          ApiError: the queue is full.
        """
        self._model, self._prompts = model, prompts
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, int, Event]] = asyncio.Queue()
        self._jobs: list[Job] = []
        self._samples: dict[int, list[Choice]] = {}  # of prompts whose answers are the likeliest of them
        self.discarded = 0
        for number, prompt in enumerate(prompts):
            for sample in range(prompt.jobs):
                notify = self._notifier(number, sample)
                self._jobs.append(model.job(prompt, sample, client, deadline, notify, streams=streams))
        try:
            model.scheduler.submit(self._jobs)
        except QueueFull as full:
            raise ApiError(
                429,
                "too many prompts are waiting; try again later",
                code="queue_full",
                headers={"Retry-After": str(full.retry_after)},
            ) from None

    def cancel(self) -> None:
        """Nobody waits for the answers any more."""
        self._model.scheduler.cancel(self._jobs)

    async def pieces(self) -> AsyncIterator[Piece]:
        """Pieces of all choices as they come. Each choice ends with a piece that has it.

        Raises:
          ApiError: a prompt gets no answer.
        """
        left = len(self._jobs)
        streams = {
            (number, sample): self._model.stream(prompt)
            for number, prompt in enumerate(self._prompts)
            for sample in range(prompt.jobs)
        }
        while left:
            number, sample, event = await self._events.get()
            prompt = self._prompts[number]
            first = sum(each.choices for each in self._prompts[:number]) + sample
            if isinstance(event, Certain):
                if text := streams[number, sample].piece(event.tokens.tolist()):
                    yield Piece(first, text)
                continue
            if isinstance(event, Unanswered):
                raise ApiError(_STATUS[event.reason], event.message, code=event.reason.value)
            assert isinstance(event, Found)
            left -= 1
            if prompt.is_quick:
                choices = self._model.choices(prompt, event.hypotheses)
            else:
                choices = await asyncio.to_thread(self._model.choices, prompt, event.hypotheses)
            if prompt.chooses:
                for index, choice in enumerate(self._likeliest(number, choices)):
                    yield Piece(first - sample + index, choice.text, choice)
                continue
            for index, choice in enumerate(choices):
                try:
                    rest = streams[number, sample].rest(choice.text) if not index else choice.text
                except ValueError as error:  # the client has read what is not in the answer
                    raise ApiError(500, f"the stream went wrong: {error}; ask again without 'stream'") from None
                yield Piece(first + index, rest, choice)

    async def choices(self) -> dict[int, Choice]:
        """All choices by their index, once they are there.

        Raises:
          ApiError: a prompt gets no answer.
        """
        return {piece.index: piece.choice async for piece in self.pieces() if piece.choice is not None}

    def _likeliest(self, number: int, choices: Sequence[Choice]) -> list[Choice]:
        """The answers to a prompt once all samples are there, the one with the largest probability a token first."""
        prompt, samples = self._prompts[number], self._samples.setdefault(number, [])
        samples += choices
        if len(samples) < prompt.jobs:
            return []
        samples.sort(key=lambda each: -each.extra["log_probability"] / max(1, each.tokens))
        self.discarded += sum(each.tokens for each in samples[prompt.choices :])
        return samples[: prompt.choices]

    def _notifier(self, number: int, sample: int) -> Callable[[Event], None]:
        def notify(event: Event) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._events.put_nowait, (number, sample, event))

        return notify
