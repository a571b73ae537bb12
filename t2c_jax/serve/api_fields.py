"""The fields of a request: OpenAI's, with a few more. Unknown ones are ignored, impossible ones are refused.

Docs: https://platform.openai.com/docs/api-reference/completions/create and .../chat/create.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from t2c_jax.config import DecodeConfig
from t2c_jax.config.registry import grammars
from t2c_jax.errors import UserError
from t2c_jax.serve.api_errors import ApiError, invalid

MOST_CHOICES = 128
"""Answers to a request at most: prompts times n."""
MOST_LOGPROBS = 20
"""Alternatives of a token at most."""
_MOST_STOPS = 32
_HUGE = 1e300
_PARTS = ("text", "input_text")
_MARKED = re.compile(r"<(\|?)fim_prefix\1>(?P<before>.*)<\1fim_suffix\1>(?P<after>.*)<\1fim_middle\1>", re.DOTALL)


@dataclass(frozen=True)
class Asked:
    """What a request for answers asks for.

    Attributes:
      prompts: what the encoder reads.
      settings: of the search; with ``samples`` where tokens are drawn.
      choices: answers to each prompt; with more samples than that, the likeliest of them.
      streams: whether they are sent as they are found.
      includes_usage: whether a stream ends with the number of tokens.
      echoes: whether each answer begins with its prompt.
      timeout: seconds; None where the request names none.
      highlights: whether choices say how to highlight them, for the page.
      logprobs: how many alternatives each token of an answer comes with; None for no probabilities of tokens.
      suffix: the code behind the gap that is to be filled; None for an answer to the prompt.
      cuts: of code around a gap that is too long, read what is nearest.
    """

    prompts: tuple[str, ...]
    settings: DecodeConfig
    choices: int
    streams: bool
    includes_usage: bool
    echoes: bool
    timeout: float | None
    highlights: bool = False
    logprobs: int | None = None
    suffix: str | None = None
    cuts: bool = False


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
      ApiError: it is none.
    """
    try:
        value = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the body is not UTF-8 at byte {error.start}", code="invalid_utf8") from None
    except (ValueError, RecursionError) as error:
        what = (
            str(error) if isinstance(error, json.JSONDecodeError) else "it is nested too deeply or holds a huge number"
        )
        raise ApiError(400, f"the body is no JSON: {what}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object", code="invalid_json")
    return value


def completion(fields: Mapping[str, Any], default: DecodeConfig, seed: int, *, fills: bool = False) -> Asked:
    """A request to ``/v1/completions``.

    Args:
      fields: its body.
      default: the model's own settings.
      seed: of what is drawn, where the request names none.
      fills: the model fills in the middle. It then reads the prompts of editors that mark a gap as other models do.

    Raises:
      ApiError: a field is wrong.
    """
    prompt = fields.get("prompt")
    if prompt is None:
        raise invalid("prompt", "is missing; it is a text, or a list of texts")
    prompts, suffix = texts("prompt", prompt), text(fields, "suffix") or None
    if fills and suffix is None and len(prompts) == 1 and (marked := _marked(prompts[0])) is not None:
        prompts, suffix = [marked[0]], marked[1]
    found = asked(fields, prompts, default, seed, suffix=suffix)
    logprobs = None if fields.get("logprobs") is False else number(fields, "logprobs", 0, MOST_LOGPROBS, whole=True)
    return replace(found, echoes=flag(fields, "echo"), logprobs=logprobs)


def chat(fields: Mapping[str, Any], default: DecodeConfig, seed: int, *, ignores_system: bool = False) -> Asked:
    """A request to ``/v1/chat/completions``: the last user message is the prompt, and system texts come before it.

    Raises:
      ApiError: a field is wrong.
    """
    logprobs = number(fields, "top_logprobs", 0, MOST_LOGPROBS, whole=True)
    if not flag(fields, "logprobs"):
        if logprobs:
            raise invalid("top_logprobs", "needs 'logprobs': true")
        logprobs = None
    elif logprobs is None:
        logprobs = 0
    for name in ("tools", "functions"):
        choice = fields.get("tool_choice" if name == "tools" else "function_call")
        if fields.get(name) and choice != "none":
            raise invalid(name, "cannot be used: this model calls no tools; leave them out")
    modalities = fields.get("modalities")
    if fields.get("audio") or (isinstance(modalities, list) and modalities != ["text"]):
        raise invalid("modalities", "must be ['text']: this model writes text alone")
    found = asked(fields, [_prompt_of(fields.get("messages"), ignores_system)], default, seed)
    return replace(found, logprobs=logprobs)


def embedding_inputs(fields: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The texts of a request to ``/v1/embeddings``, and whether it wants base64.

    Raises:
      ApiError: a field is wrong.
    """
    if fields.get("input") is None:
        raise invalid("input", "is missing; it is a text, or a list of texts")
    found = texts("input", fields["input"])
    if not all(found):
        raise invalid("input", "must not hold an empty text")
    encoding = fields.get("encoding_format")
    if encoding not in (None, "float", "base64"):
        raise invalid("encoding_format", "must be 'float' or 'base64'")
    if fields.get("dimensions") is not None:
        raise invalid("dimensions", "cannot be chosen: the model's vectors have one size")
    return found, encoding == "base64"


def texts(name: str, value: Any) -> list[str]:
    """A text, or a list of texts.

    Raises:
      ApiError: the value is neither, or not Unicode.
    """
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found:
        raise invalid(name, "must be a text, or a list of texts that is not empty")
    if not all(isinstance(text, str) for text in found):
        raise invalid(name, "must hold texts alone; token ids differ from tokenizer to tokenizer")
    if len(found) > MOST_CHOICES:
        raise invalid(name, f"has {len(found)} texts; send {MOST_CHOICES} at most")
    for text in found:
        _check_unicode(name, text)
    return found


def text(fields: Mapping[str, Any], name: str) -> str | None:
    """A text; None where the field is missing or null.

    Raises:
      ApiError: it is something else.
    """
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise invalid(name, "must be a text")
    _check_unicode(name, value)
    return value


def flag(fields: Mapping[str, Any], name: str) -> bool:
    """A field that is true or false.

    Raises:
      ApiError: it is something else.
    """
    value = fields.get(name)
    if value not in (None, True, False) or isinstance(value, int | float) != isinstance(value, bool):
        raise invalid(name, "must be true or false")
    return bool(value)


def number(
    fields: Mapping[str, Any], name: str, least: float, most: float = math.inf, *, whole: bool = False
) -> Any | None:
    """A number; None where the field is missing or null.

    Raises:
      ApiError: it is no number, or too small or large.
    """
    value = fields.get(name)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) < _HUGE:  # NaN is not
        raise invalid(name, f"must be {'an integer' if whole else 'a number'}")
    if whole and value != int(value):
        raise invalid(name, "must be an integer")
    if not least <= value <= most:
        upper = f", and at most {most:g}" if math.isfinite(most) else ""
        raise invalid(name, f"must be at least {least:g}{upper}")
    return int(value) if whole else float(value)


def asked(
    fields: Mapping[str, Any],
    prompts: Sequence[str],
    default: DecodeConfig,
    seed: int,
    *,
    suffix: str | None = None,
) -> Asked:
    """What all requests for answers have in common.

    Args:
      fields: the body of the request.
      prompts: its prompts, or the code before a gap.
      default: the model's own settings.
      seed: of what is drawn, where the request names none.
      suffix: the code behind a gap.

    Raises:
      ApiError: a field is wrong.
    """
    fixed = {"frequency_penalty": 0.0, "presence_penalty": 0.0, "repetition_penalty": default.repetition_penalty}
    for name, value in fixed.items():
        if number(fields, name, -math.inf) not in (None, value):
            raise invalid(name, f"is not supported; leave it out, or set it to {value:g}")
    if fields.get("logit_bias"):
        raise invalid("logit_bias", "is not supported; leave it out")
    choices = number(fields, "n", 1, MOST_CHOICES, whole=True) or 1
    best_of = number(fields, "best_of", 1, MOST_CHOICES, whole=True) or choices
    if best_of < choices:
        raise invalid("best_of", f"must be at least 'n', which is {choices}")
    for name, count in (("n", choices), ("best_of", best_of)):
        if count * len(prompts) > MOST_CHOICES:
            raise invalid(name, f"asks for {count * len(prompts)} answers in one request; {MOST_CHOICES} is the most")
    if suffix is not None:
        default = replace(default, grammar="")  # of whole answers, which a part of a file is not
    settings = _settings(fields, default, choices, best_of, seed)
    streams = flag(fields, "stream")
    options = fields.get("stream_options") or {}
    if not isinstance(options, dict):
        raise invalid("stream_options", "must be an object")
    return Asked(
        prompts=tuple(prompts),
        settings=settings,
        choices=choices,
        streams=streams,
        includes_usage=flag(options, "include_usage"),
        echoes=False,
        timeout=number(fields, "timeout", 0.001),
        highlights=flag(fields, "highlight"),
        suffix=suffix,
    )


def _settings(fields: Mapping[str, Any], default: DecodeConfig, choices: int, best_of: int, seed: int) -> DecodeConfig:
    temperature = number(fields, "temperature", 0, 100)
    temperature = default.temperature if temperature is None else temperature
    top_p, min_p = number(fields, "top_p", 0, 1), number(fields, "min_p", 0, 1)
    if top_p == 0:
        raise invalid("top_p", "must be above 0")
    top_k = number(fields, "top_k", -1, 2**31 - 1, whole=True)  # -1 is how others write 0
    own_seed = number(fields, "seed", -(2**63), 2**64, whole=True)
    most = default.max_tokens
    for name in ("max_tokens", "max_completion_tokens"):
        most = min(most, number(fields, name, 1, whole=True) or most)
    stop, grammar = _stop(fields, default), _grammar(fields, default)
    if stop and grammar:
        raise invalid("stop", "cuts answers, and a grammar completes them; leave one of both out")
    settings = replace(default, max_tokens=most, stop=stop, grammar=grammar, rerank=False)
    if temperature:
        return replace(
            settings,
            beam_size=1,
            beam_groups=1,
            temperature=temperature,
            samples=best_of,
            top_k=max(0, default.top_k if top_k is None else top_k),
            top_p=default.top_p if top_p is None else top_p,
            min_p=default.min_p if min_p is None else min_p,
            seed=seed if own_seed is None else own_seed,
        )
    # What shapes a distribution has nothing to do in a search.
    settings = replace(settings, temperature=0.0, samples=1, top_k=0, top_p=1.0, min_p=0.0)
    for name, count in (("n", choices), ("best_of", best_of)):
        if count > settings.beam_size:
            raise invalid(
                name, f"asks for {count} answers of a search that keeps {settings.beam_size}; set 'temperature' above 0"
            )
    return settings


def _stop(fields: Mapping[str, Any], default: DecodeConfig) -> tuple[str, ...]:
    value = fields.get("stop")
    if value is None:
        return default.stop
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise invalid("stop", "must be a text, or a list of texts")
    if len(found) > _MOST_STOPS:
        raise invalid("stop", f"has {len(found)} texts; send {_MOST_STOPS} at most")
    for text in found:
        _check_unicode("stop", text)
        if not text:
            raise invalid("stop", "must not hold an empty text, which would end every answer")
    return tuple(dict.fromkeys(found))


def _grammar(fields: Mapping[str, Any], default: DecodeConfig) -> str:
    """The grammar of ``response_format``, or of our own field ``grammar``. Neither names a file of the server."""
    own, response_format = fields.get("grammar"), fields.get("response_format")
    if own is not None:
        if not isinstance(own, str):
            raise invalid("grammar", "must be a text")
        _check_unicode("grammar", own)
        if own and own not in grammars and not own.startswith(("regex:", "lark:")):
            raise invalid("grammar", f"must be one of {', '.join(sorted(grammars))}, regex:PATTERN or lark:GRAMMAR")
    kind = response_format.get("type") if isinstance(response_format, dict) else response_format
    if kind in (None, "text"):
        return default.grammar if own is None else own
    if own:
        raise invalid("grammar", "and 'response_format' both say what answers follow; leave one of both out")
    if kind == "json_object":
        return "json"
    if kind != "json_schema" or not isinstance(response_format, dict):
        raise invalid("response_format", "must have the type 'text', 'json_object' or 'json_schema'")
    described = response_format.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    if not isinstance(schema, dict):
        raise invalid("response_format", "of the type 'json_schema' needs the object 'json_schema.schema'")
    return f"schema:{json.dumps(schema)}"


def _marked(prompt: str) -> tuple[str, str] | None:
    """The code before and behind the gap of a prompt that marks it as StarCoder's or Qwen2.5-Coder's do."""
    found = _MARKED.fullmatch(prompt)
    return None if found is None else (found["before"], found["after"])


def _prompt_of(messages: Any, ignores_system: bool) -> str:
    if not isinstance(messages, list) or not messages:
        raise invalid("messages", "must be a list of messages that is not empty")
    system: list[str] = []
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise invalid("messages", "must hold objects with a 'role' and a 'content'")
        if message["role"] in ("system", "developer") and not ignores_system:
            system.append(_content(message.get("content")))
    last = messages[-1]
    if last["role"] != "user":
        raise invalid("messages", "must end with a message of the role 'user', which is what this model answers")
    return "\n".join([*filter(None, system), _content(last.get("content"))])


def _content(value: Any) -> str:
    parts = value if isinstance(value, list) else [{"type": "text", "text": value}]
    found = []
    for part in parts:
        if not isinstance(part, dict) or part.get("type") not in _PARTS or not isinstance(part.get("text"), str):
            raise invalid("messages", "must hold texts alone: this model reads no images, sounds or files")
        _check_unicode("messages", part["text"])
        found.append(part["text"])
    return "".join(found)


def _check_unicode(name: str, text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise invalid(name, "holds half of a surrogate pair, which no text does") from None


def as_invalid(error: UserError, param: str) -> ApiError:
    """The refusal of a field by what it was meant for."""
    return invalid(param, f"is refused: {error}")
