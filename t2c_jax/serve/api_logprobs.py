"""Probabilities of tokens, in the two shapes that OpenAI's interface has for them.

Docs: https://platform.openai.com/docs/api-reference/completions/object and .../chat/object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from t2c_jax.decode.token_scores import TokenScore


def of_completion(scores: Sequence[TokenScore], text: str, begin: int, alternatives: int) -> dict[str, Any]:
    """The field of a completion's choice.

    Args:
      scores: of the answer's tokens.
      text: of the answer. It may end before its tokens do, at a stop string.
      begin: characters of the choice before the answer, its echoed prompt.
      alternatives: how many were asked for.
    """
    shown = list(_within(scores, text))
    best = [{written(token): log_p for token, log_p in reversed(_chosen_too(score))} for score, _ in shown]
    return {
        "tokens": [written(score.text) for score, _ in shown],
        "token_logprobs": [score.log_probability for score, _ in shown],
        "top_logprobs": best if alternatives else None,
        "text_offset": [begin + offset for _, offset in shown],
    }


def of_chat(scores: Sequence[TokenScore], text: str) -> dict[str, Any]:
    """The field of a chat's choice."""

    def entry(token: bytes, log_p: float) -> dict[str, Any]:
        return {"token": written(token), "logprob": log_p, "bytes": list(token)}

    content = [
        {
            **entry(score.text, score.log_probability),
            "top_logprobs": [entry(*each) for each in score.alternatives],
        }
        for score, _ in _within(scores, text)
    ]
    return {"content": content, "refusal": None}


def written(token: bytes) -> str:
    """A token as text; bytes that are a part of a character as OpenAI writes them."""
    try:
        return token.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


def _within(scores: Sequence[TokenScore], text: str) -> Iterator[tuple[TokenScore, int]]:
    """The tokens that begin in the text, each with the characters before it."""
    before = b""
    for score in scores:
        offset = len(before.decode("utf-8", "ignore"))
        if offset >= len(text):
            return
        yield score, offset
        before += score.text


def _chosen_too(score: TokenScore) -> list[tuple[bytes, float]]:
    """The alternatives, and the token itself where it is none of them."""
    own = (score.text, score.log_probability)
    return [*score.alternatives, *([] if score.text in dict(score.alternatives) else [own])]
