"""Requests as editors send them, written after their sources, and read as they read the answers.

- Continue, github.com/continuedev/continue at d0a3c0b626b5bebc3bef4742eec05a0242be0bab: bodies in
  core/llm/openaiTypeConverters.ts; endpoints, headers and what is read in core/llm/llms/OpenAI.ts and
  packages/openai-adapters/src/apis/OpenAI.ts
- Zed, github.com/zed-industries/zed: crates/edit_prediction/src/fim.rs at 09512d2e88ed9316fbccd988b46378e8d779179c,
  crates/edit_prediction/src/open_ai_compatible.rs at 0fd68c5e45b05e43f4d558c87a0c55c8adaaf7c2,
  crates/open_ai/src/open_ai.rs at 014676e49857c2b2fec5b57883880c1db05f1ca7
- Cody, github.com/sourcegraph/cody: lib/shared/src/llm-providers/openai/chat-client.ts at
  da4f98f23df85e62e0bd164cc13941f8ecb89a60, groq/chat-client.ts at 0d70440796f527900522758b30d11f493874fab4
- llama.vim, github.com/ggml-org/llama.vim at a1c8e6e40cb45df59b78add5b65d575386832465: autoload/llama.vim
"""

import json
import urllib.request

import pytest
from served import KEY, serving
from tiny_generators import PAIRS, tokenizer, tokenizers

from t2c_jax.data.infilling import InfillPrompts
from t2c_jax.data.templates import SourceTemplate
from t2c_jax.serve.api_keys import ApiKeys
from t2c_jax.serve.server_settings import ServerSettings

FIRST, CODE = next(iter(PAIRS.items()))
SYSTEM = {"role": "system", "content": "You are an expert programmer. Answer in the language of the file."}
BEFORE, AFTER = "def add(a, b):\n    return ", "\n"


@pytest.fixture(scope="module")
def served(generators):
    infills = InfillPrompts(tokenizer(), SourceTemplate.of(tokenizers()), tokenizer().sentinels[0], 40)
    settings = ServerSettings(ApiKeys([KEY]), ignores_system=True)
    with serving(generators("learned", beam_size=2, max_tokens=48), settings, infills=infills) as found:
        found.model.warm_up()
        yield found


@pytest.fixture(scope="module")
def middle(served):
    """The answer to the gap."""
    return send(served, "/v1/completions", {"prompt": BEFORE, "suffix": AFTER})["choices"][0]["text"]


def send(served, path, body, **headers):
    """The response as JSON."""
    with opened(served, path, body, headers) as answer:
        return json.loads(answer.read())


def stream(served, path, body, **headers):
    """The events of a response, each as JSON; the last one must be the end."""
    with opened(served, path, body, headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [line.removeprefix("data: ") for line in answer.read().decode().split("\n\n") if line]
    assert events.pop() == "[DONE]"
    return list(map(json.loads, events))


def opened(served, path, body, headers):
    sent = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}", **headers}
    request = urllib.request.Request(served.url + path, json.dumps(body).encode(), sent, method="POST")
    return urllib.request.urlopen(request, timeout=60)


def test_continues_chat(served):
    body = {
        "messages": [SYSTEM, {"role": "user", "content": [{"type": "text", "text": FIRST}]}],
        "model": "tiny",
        "max_tokens": 4096,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    chunks = stream(served, "/v1/chat/completions", body, **{"api-key": KEY})
    *parts, usage = chunks
    assert "".join(part["choices"][0]["delta"].get("content") or "" for part in parts) == CODE
    assert usage["usage"]["total_tokens"] > 0


def test_continues_legacy_completions(served):
    body = {"model": "tiny", "max_tokens": 1024, "stop": ["<|endoftext|>"], "prompt": FIRST, "stream": True}
    parts = stream(served, "/v1/completions", body, **{"api-key": KEY})
    assert "".join(part["choices"][0]["text"] for part in parts) == CODE


def test_continues_autocomplete(served, middle):
    """With the provider ``mistral``, whose adapter asks for the middle."""
    body = {"model": "tiny", "prompt": BEFORE, "suffix": AFTER, "max_tokens": 256, "temperature": 0.01, "stream": True}
    body |= {"stop": ["<fim_prefix>", "[PREFIX]", "\n\n", "/src/", "```", "\nfunction"], "frequency_penalty": 0}
    parts = stream(served, "/v1/fim/completions", body, Accept="application/json", **{"x-api-key": KEY})
    assert "".join(part["choices"][0]["delta"].get("content") or "" for part in parts)
    body["temperature"] = 0
    parts = stream(served, "/v1/fim/completions", body)
    assert "".join(part["choices"][0]["delta"].get("content") or "" for part in parts) == middle


def test_zeds_assistant(served):
    body = {
        "model": "tiny",
        "messages": [SYSTEM, {"role": "user", "content": FIRST}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 512,
        "temperature": 0.0,
    }
    chunks = stream(served, "/v1/chat/completions", body)
    # Each event is one struct, whose choices have an index and may have a delta; the role is one that Zed knows.
    for chunk in chunks:
        for choice in chunk["choices"]:
            assert choice["index"] == 0
            assert choice["delta"].get("role", "assistant") == "assistant"
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert text == CODE
    assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= set(chunks[-1]["usage"])


def test_zeds_edit_prediction(served, middle):
    stop = ["<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"]
    prompt = f"<|fim_prefix|>{BEFORE}<|fim_suffix|>{AFTER}<|fim_middle|>"
    found = send(served, "/v1/completions", {"model": "tiny", "prompt": prompt, "max_tokens": 64, "stop": stop})
    assert found["choices"][0]["text"] == middle
    assert {"id", "object", "created", "model", "usage"} <= set(found)


def test_codys_chat(served):
    body = {"model": "tiny", "messages": [{"role": "user", "content": FIRST}], "temperature": 1, "stream": True}
    text = ""
    for event in stream(served, "/v1/chat/completions", body):
        choice = event["choices"][0]
        text += choice["delta"].get("content") or ""
        if choice["finish_reason"]:
            break
    else:
        pytest.fail("no event says that the answer ends")
    assert text
    plain = {"model": "tiny", "messages": [{"role": "user", "content": FIRST}], "temperature": 0}
    assert send(served, "/v1/chat/completions", plain)["choices"][0]["message"]["content"] == CODE


def test_llama_vims_completion(served, middle):
    timings = ["prompt_n", "prompt_ms", "prompt_per_second", "predicted_n", "predicted_ms", "predicted_per_second"]
    body = {
        "id_slot": 0,
        "input_prefix": "",
        "input_suffix": AFTER,
        "input_extra": [{"text": "import os\n", "time": 1, "filename": "a.py"}],
        "prompt": BEFORE,
        "n_predict": 128,
        "stop": [],
        "n_indent": 4,
        "top_k": 40,
        "top_p": 0.9,
        "samplers": ["top_k", "top_p", "infill"],
        "stream": False,
        "cache_prompt": True,
        "t_max_prompt_ms": 500,
        "t_max_predict_ms": 1000,
        "response_fields": ["content", *(f"timings/{name}" for name in timings), "truncated", "tokens_cached"],
        "model": "tiny",
    }
    found = send(served, "/infill", body)
    assert found["content"] == middle
    assert all(float(found[f"timings/{name}"]) >= 0 for name in timings)
    assert (found["truncated"], found["tokens_cached"]) == (False, 0)
    with opened(served, "/infill", body, {}) as answer:  # the plugin looks at the text before it reads the JSON
        raw = answer.read().decode()
    assert raw.startswith("{")
    assert '"content":"' in raw


def test_llama_vims_context_and_instructions(served):
    empty = {"input_prefix": "", "input_suffix": "", "input_extra": [], "prompt": "", "n_predict": 0, "samplers": []}
    warm = {**empty, "stream": False, "cache_prompt": True, "t_max_prompt_ms": 1, "response_fields": [""]}
    assert send(served, "/infill", warm)["content"] == ""
    messages = [SYSTEM, {"role": "user", "content": FIRST}]
    body = {"id_slot": 1, "messages": messages, "min_p": 0.1, "temperature": 0.1, "samplers": ["min_p", "temperature"]}
    parts = stream(served, "/v1/chat/completions", {**body, "stream": True, "cache_prompt": True})
    assert "".join(part["choices"][0]["delta"].get("content", "") for part in parts) == CODE
