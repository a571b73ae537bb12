"""Requests of any shape: an answer or a refusal, and never an error of the server."""

import contextlib
import http.client
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import serving
from tiny_generators import tokenizer, tokenizers

from t2c_jax.data.infilling import InfillPrompts
from t2c_jax.data.templates import SourceTemplate

EXAMPLES = int(os.environ.get("T2C_FUZZ_EXAMPLES", "150"))

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
numbers = st.integers(-2, 5) | st.floats() | anything
texts = st.text(max_size=12) | st.just("Return the sum of two numbers.")
FIELDS = {
    "model": st.just("tiny") | anything,
    "prompt": texts | st.lists(texts, max_size=3) | anything,
    "messages": st.lists(
        st.fixed_dictionaries({}, optional={"role": st.sampled_from(["user", "system"]) | anything, "content": texts}),
        max_size=3,
    )
    | anything,
    "input": texts | anything,
    "max_tokens": numbers,
    "n": numbers,
    "temperature": numbers,
    "top_p": numbers,
    "top_k": numbers,
    "min_p": numbers,
    "seed": numbers,
    "stop": texts | st.lists(texts, max_size=3) | anything,
    "stream": st.booleans() | anything,
    "stream_options": st.fixed_dictionaries({}, optional={"include_usage": st.booleans() | anything}) | anything,
    "echo": st.booleans() | anything,
    "suffix": texts | anything,
    "logprobs": st.booleans() | numbers,
    "top_logprobs": numbers,
    "best_of": numbers,
    "presence_penalty": numbers,
    "frequency_penalty": numbers,
    "repetition_penalty": numbers,
    "logit_bias": anything,
    "timeout": numbers,
    "grammar": st.sampled_from(["json", "regex:a+", "regex:(", "lark:start: x", "schema:{", "x.lark"]) | anything,
    "response_format": st.fixed_dictionaries(
        {"type": st.sampled_from(["text", "json_object", "json_schema"]) | anything},
        optional={"json_schema": st.fixed_dictionaries({}, optional={"schema": anything}) | anything},
    )
    | anything,
    "tools": anything,
    "modalities": anything,
    "encoding_format": anything,
    "input_prefix": texts | anything,
    "input_suffix": texts | anything,
    "n_predict": numbers,
    "response_fields": st.lists(st.sampled_from(["content", "timings/prompt_n", "a/b"]), max_size=3) | anything,
    "random_seed": numbers,
}
PATHS = ("/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/v1/fim/completions", "/infill")
likely = st.fixed_dictionaries({}, optional=FIELDS)
valid = st.fixed_dictionaries(
    {"prompt": texts, "messages": st.tuples(st.fixed_dictionaries({"role": st.just("user"), "content": texts}))},
    optional={name: FIELDS[name] for name in ("stream", "n", "temperature", "stop", "seed", "max_tokens", "top_p")},
)
bodies = (likely | valid | anything).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60)


@pytest.fixture(scope="module")
def connection(generators):
    infills = InfillPrompts(tokenizer(), SourceTemplate.of(tokenizers()), tokenizer().sentinels[0], 40)
    with serving(generators("learned", beam_size=2, max_tokens=48), infills=infills) as served:
        served.model.warm_up()
        with contextlib.closing(http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=60)) as found:
            yield found


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(path=st.sampled_from(PATHS), body=bodies)
def test_no_request_is_an_error_of_the_server(connection, path, body):
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status in (200, 400, 404), content
    if answer.headers["content-type"].startswith("text/event-stream"):
        assert content.endswith(b"\n\n"), content
        assert path == "/infill" or content.endswith(b"data: [DONE]\n\n"), content
        return
    value = json.loads(content)
    assert (answer.status == 200) == ("error" not in value)
    if answer.status != 200:
        assert value["error"]["message"]
        assert value["error"]["type"] == "invalid_request_error"
