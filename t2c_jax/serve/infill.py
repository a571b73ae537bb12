"""Requests of editors that ask for the code in a gap: Mistral's ``/v1/fim/completions`` and llama.cpp's ``/infill``.

Docs: https://docs.mistral.ai/api/endpoint/fim and
https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md#post-infill-for-code-infilling.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from t2c_jax.config import DecodeConfig
from t2c_jax.serve import api_bodies
from t2c_jax.serve.answering import Piece
from t2c_jax.serve.api_bodies import Bodies
from t2c_jax.serve.api_errors import invalid
from t2c_jax.serve.api_fields import Asked, asked, number, text
from t2c_jax.serve.served_model import Choice, ServedModel, ServedPrompt


def fim(fields: Mapping[str, Any], default: DecodeConfig, seed: int) -> Asked:
    """A request to ``/v1/fim/completions``: ``prompt`` is the code before the gap, ``suffix`` that behind it.

    Raises:
      ApiError: a field is wrong.
    """
    before = text(fields, "prompt")
    if before is None:
        raise invalid("prompt", "is missing; it is the code before the gap")
    drawn = number(fields, "random_seed", -(2**63), 2**64, whole=True)
    return asked(fields, [before], default, seed if drawn is None else drawn, suffix=text(fields, "suffix") or "")


def llama_infill(fields: Mapping[str, Any], default: DecodeConfig, seed: int) -> Asked:
    """A request to ``/infill``.

    The code before the gap is ``input_prefix`` and ``prompt``, that behind it ``input_suffix``. Editors send as many
    lines as their settings say, whatever the model can read, so the lines furthest from the gap are cut. ``n_predict``
    is the number of tokens, -1 for as many as there may be. Code of other files, ``input_extra``, is not read.

    Raises:
      ApiError: a field is wrong.
    """
    before = (text(fields, "input_prefix") or "") + (text(fields, "prompt") or "")
    most = number(fields, "n_predict", -2, whole=True)
    own = {name: value for name, value in fields.items() if name not in ("n", "best_of", "max_tokens")}
    if most is not None and most > 0:
        own["max_tokens"] = most
    found = asked(own, [before], default, seed, suffix=text(fields, "input_suffix") or "")
    return replace(found, cuts=True)


def is_warm_up(fields: Mapping[str, Any]) -> bool:
    """Whether a request to ``/infill`` asks for no tokens: llama.cpp's server reads the context for the next one.

    Raises:
      ApiError: the number of tokens is wrong.
    """
    return number(fields, "n_predict", -2, whole=True) == 0


class InfillBodies(Bodies):
    """The bodies of ``/infill``."""

    def __init__(
        self,
        identity: str,
        created: int,
        model: ServedModel,
        asked: Asked,
        prompts: Sequence[ServedPrompt],
        response_fields: Sequence[str] = (),
    ) -> None:
        """As ``Bodies``; ``response_fields`` are the paths of what the client reads, empty for all."""
        super().__init__(identity, created, model, asked, prompts)
        self._response_fields, self._begin = response_fields, time.monotonic()

    def whole(self, choices: Mapping[int, Choice]) -> dict[str, Any]:
        """A response that is not streamed."""
        self._tokens = choices[0].tokens
        return self._chosen(self._body(choices[0].text, choices[0]))

    def events(self, piece: Piece) -> list[bytes]:
        """The events of a piece."""
        if piece.choice is None:
            return [api_bodies.event({"index": 0, "content": piece.text, "stop": False})]
        self._tokens = piece.choice.tokens
        return [api_bodies.event(self._body(piece.text, piece.choice))]

    def last_events(self) -> list[bytes]:
        """None: the last piece says that it is."""
        return []

    def _body(self, content: str, choice: Choice) -> dict[str, Any]:
        usage, seconds = self.usage(), max(time.monotonic() - self._begin, 1e-6)
        predicted = usage["completion_tokens"]
        return {
            "index": 0,
            "content": content,
            "stop": True,
            "stop_type": "eos" if choice.finished else "limit",
            "model": self._head["model"],
            "tokens_predicted": predicted,
            "tokens_evaluated": usage["prompt_tokens"],
            "tokens_cached": 0,
            "truncated": self._prompts[0].read.truncated,
            "timings": {
                "prompt_n": usage["prompt_tokens"],
                "prompt_ms": 0.0,
                "prompt_per_token_ms": 0.0,
                "prompt_per_second": 0.0,
                "predicted_n": predicted,
                "predicted_ms": 1000 * seconds,
                "predicted_per_token_ms": 1000 * seconds / max(1, predicted),
                "predicted_per_second": predicted / seconds,
            },
            **choice.extra,
        }

    def _chosen(self, body: dict[str, Any]) -> dict[str, Any]:
        if not self._response_fields:
            return body
        return {name: value for name in self._response_fields if (value := _at(body, name)) is not None}


def response_fields(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """What the client reads of the response; empty for all."""
    named = fields.get("response_fields")
    return tuple(name for name in named if isinstance(name, str)) if isinstance(named, list) else ()


def nothing(model: str) -> dict[str, Any]:
    """The response to a warm-up."""
    return {"index": 0, "content": "", "stop": True, "stop_type": "limit", "model": model, "tokens_predicted": 0}


def _at(body: Any, name: str) -> Any:
    """The value at a path, such as ``timings/prompt_n``."""
    for key in name.split("/"):
        body = body.get(key) if isinstance(body, dict) else None
    return body
