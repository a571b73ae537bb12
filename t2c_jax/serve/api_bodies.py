"""Bodies of responses, as OpenAI's clients read them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from t2c_jax.pages.page import token_spans
from t2c_jax.serve import api_logprobs
from t2c_jax.serve.answering import Piece
from t2c_jax.serve.api_fields import Asked
from t2c_jax.serve.served_model import Choice, ServedModel, ServedPrompt

DONE = b"data: [DONE]\n\n"


class Bodies:
    """The bodies of one request for answers."""

    def __init__(self, identity: str, created: int, model: ServedModel, asked: Asked, prompts: Sequence[ServedPrompt]):
        """Of a request.

        Args:
          identity: of the response.
          created: in seconds since 1970.
          model: that answers.
          asked: the request.
          prompts: of it.
        """
        self._asked, self._prompts = asked, prompts
        self._begun: set[int] = set()
        self._tokens = 0
        self._language = model.language
        self._head = {"id": identity, "created": created, "model": model.name}

    def usage(self) -> dict[str, int]:
        """The tokens of the prompts, and of all answers so far."""
        prompt = sum(each.read.size for each in self._prompts)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self._tokens,
            "total_tokens": prompt + self._tokens,
        }

    def discard(self, tokens: int) -> None:
        """Counts tokens that were found for no choice."""
        self._tokens += tokens

    def whole(self, choices: Mapping[int, Choice]) -> dict[str, Any]:
        """A response that is not streamed."""
        self._tokens += sum(choice.tokens for choice in choices.values())
        return {
            **self._head,
            "object": self._whole_object,
            "choices": [self._whole_choice(index, choices[index]) for index in sorted(choices)],
            "usage": self.usage(),
        }

    def events(self, piece: Piece) -> list[bytes]:
        """The events of a piece."""
        found = []
        if piece.index not in self._begun:
            self._begun.add(piece.index)
            found += self._first_events(piece.index)
        if piece.text:
            scored = {} if piece.choice is None else self._scored(piece.index, piece.choice)
            found.append(self._event([{**self._part(piece.index, piece.text), **scored}]))
        if piece.choice is not None:
            self._tokens += piece.choice.tokens
            ending = {**self._part(piece.index, ""), **self._ending(piece.choice)}
            found.append(self._event([ending]))
        return found

    def last_events(self) -> list[bytes]:
        """The usage, where it was asked for, and the end."""
        usage = [event({**self._head, "object": self._part_object, "choices": [], "usage": self.usage()})]
        return [*(usage if self._asked.includes_usage else []), DONE]

    def _ending(self, choice: Choice) -> dict[str, Any]:
        """What a choice says at its end."""
        spans = {"spans": token_spans(choice.text, self._language)} if self._asked.highlights else {}
        return {"finish_reason": "stop" if choice.finished else "length", **choice.extra, **spans}

    def _event(self, choices: list[dict[str, Any]]) -> bytes:
        usage = {"usage": None} if self._asked.includes_usage else {}
        return event({**self._head, "object": self._part_object, "choices": choices, **usage})

    _whole_object = _part_object = "text_completion"

    def _whole_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        text = self._echo(index) + choice.text
        return {"index": index, "text": text, "logprobs": None, **self._scored(index, choice), **self._ending(choice)}

    def _scored(self, index: int, choice: Choice) -> dict[str, Any]:
        """The probabilities of a choice's tokens, where they were asked for."""
        if choice.scores is None:
            return {}
        begin, alternatives = len(self._echo(index)), self._asked.logprobs or 0
        return {"logprobs": api_logprobs.of_completion(choice.scores, choice.text, begin, alternatives)}

    def _first_events(self, index: int) -> list[bytes]:
        return [self._event([self._part(index, self._echo(index))])] if self._asked.echoes else []

    def _part(self, index: int, text: str) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": None}

    def _echo(self, index: int) -> str:
        return self._asked.prompts[index // self._asked.choices] if self._asked.echoes else ""


class ChatBodies(Bodies):
    """The bodies of a chat."""

    _whole_object, _part_object = "chat.completion", "chat.completion.chunk"

    def _whole_choice(self, index: int, choice: Choice) -> dict[str, Any]:
        message = {"role": "assistant", "content": choice.text, "refusal": None}
        return {
            "index": index,
            "message": message,
            "logprobs": None,
            **self._scored(index, choice),
            **self._ending(choice),
        }

    def _scored(self, index: int, choice: Choice) -> dict[str, Any]:
        return {} if choice.scores is None else {"logprobs": api_logprobs.of_chat(choice.scores, choice.text)}

    def _first_events(self, index: int) -> list[bytes]:
        return [self._event([{**self._part(index, ""), "delta": {"role": "assistant", "content": ""}}])]

    def _part(self, index: int, text: str) -> dict[str, Any]:
        delta = {"content": text} if text else {}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


def event(value: Mapping[str, Any]) -> bytes:
    """One event of a stream."""
    return b"data: " + encoded(value) + b"\n\n"


def encoded(value: Any) -> bytes:
    """JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")


def embeddings(model: ServedModel, vectors_NP: np.ndarray, tokens: int, *, as_base64: bool) -> dict[str, Any]:
    """The response with vectors, as lists of numbers or as base64 of float32 (little-endian)."""
    rows = vectors_NP.astype("<f4")

    def written(row: np.ndarray) -> Any:
        return base64.b64encode(row.tobytes()).decode() if as_base64 else row.tolist()

    data = [{"object": "embedding", "index": index, "embedding": written(row)} for index, row in enumerate(rows)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model.name, "usage": usage}


def model_card(model: ServedModel) -> dict[str, Any]:
    """A model in ``/v1/models``."""
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "t2c_jax",
        "language": model.language,
        "max_tokens": model.settings.max_tokens,
        "embeds": model.embedder is not None,
        "fills_in_the_middle": model.fills,
        "has_confidence": model.has_confidence,
    }
