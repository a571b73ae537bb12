"""Probabilities of tokens in OpenAI's shapes, where tokens are parts of characters or end behind the text."""

from t2c_jax.decode.token_scores import TokenScore
from t2c_jax.serve.api_logprobs import of_chat, of_completion

E, UMLAUT = (b"e", -3.0), "ö".encode()
SCORES = [
    TokenScore(b"gr", -0.1, ((b"gr", -0.1), E)),
    TokenScore(UMLAUT[:1], -0.2, ((b"x", -0.1), E)),  # the token is none of the likeliest
    TokenScore(UMLAUT[1:], -0.3, ((UMLAUT[1:], -0.3), E)),
    TokenScore(b"sse", -0.4, ((b"sse", -0.4), (b"</s>", -2.0))),
]


def test_of_completion():
    found = of_completion(SCORES, "größe"[:3] + "sse", 10, 2)
    assert found["tokens"] == ["gr", "bytes:\\xc3", "bytes:\\xb6", "sse"]
    assert found["token_logprobs"] == [-0.1, -0.2, -0.3, -0.4]
    assert found["text_offset"] == [10, 12, 12, 13]
    assert found["top_logprobs"][0] == {"gr": -0.1, "e": -3.0}
    assert found["top_logprobs"][1] == {"x": -0.1, "e": -3.0, "bytes:\\xc3": -0.2}
    assert of_completion(SCORES, "größe", 0, 0)["top_logprobs"] is None


def test_of_chat():
    content = of_chat(SCORES, "grösse")["content"]
    assert bytes(byte for token in content for byte in token["bytes"]).decode() == "grösse"
    assert content[3]["top_logprobs"][1] == {"token": "</s>", "logprob": -2.0, "bytes": list(b"</s>")}


def test_tokens_behind_a_stop_string_are_left_out():
    assert of_completion(SCORES, "grö", 0, 0)["tokens"] == ["gr", "bytes:\\xc3", "bytes:\\xb6"]
    assert of_completion(SCORES, "gr", 0, 0)["tokens"] == ["gr"]
    assert of_completion(SCORES, "grös", 0, 0)["tokens"][-1] == "sse"  # it begins within the text
    assert of_chat(SCORES, "")["content"] == []
