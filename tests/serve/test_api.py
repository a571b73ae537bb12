"""The interface, as OpenAI's own client sees it."""

import concurrent.futures
import json
import urllib.request

import openai
import pytest
from served import post, serving
from tiny_generators import PAIRS

FIRST, CODE = next(iter(PAIRS.items()))


@pytest.fixture(scope="module")
def served(generators):
    with serving(generators("learned", beam_size=2, max_tokens=48)) as found:
        found.model.warm_up()
        yield found


@pytest.fixture(scope="module")
def client(served):
    with served.client() as found:
        yield found


def test_models_are_listed(client):
    (model,) = client.models.list().data
    assert model.id == "tiny" == client.models.retrieve("tiny").id
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("large")
    assert refused.value.code == "model_not_found"


def test_a_completion_is_the_librarys(client, generators):
    (expected,) = generators("learned", beam_size=2, max_tokens=48).generate([FIRST])
    answer = client.completions.create(model="tiny", prompt=FIRST)
    (choice,) = answer.choices
    assert choice.text == expected.best == CODE
    assert choice.finish_reason == "stop"
    assert choice.log_probability == pytest.approx(expected.hypotheses[0].log_probability, abs=1e-4)
    assert sum(choice.provenance.values()) == pytest.approx(1)
    assert answer.usage.completion_tokens == expected.hypotheses[0].tokens
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_prompts_together_and_alone_get_the_same_answers(client, served):
    together = client.completions.create(model="tiny", prompt=list(PAIRS))
    assert [choice.text for choice in together.choices] == list(PAIRS.values())
    assert [choice.index for choice in together.choices] == list(range(len(PAIRS)))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [*PAIRS] * 3
        found = list(pool.map(lambda prompt: client.completions.create(model="tiny", prompt=prompt), asked))
    assert [each.choices[0].text for each in found] == [PAIRS[prompt] for prompt in asked]


@pytest.mark.parametrize("prompt", list(PAIRS))
def test_a_stream_is_the_answer_in_pieces(client, prompt):
    chunks = list(
        client.completions.create(model="tiny", prompt=prompt, stream=True, stream_options={"include_usage": True})
    )
    *parts, usage = chunks
    assert "".join(chunk.choices[0].text for chunk in parts) == PAIRS[prompt]
    assert [chunk.choices[0].finish_reason for chunk in parts] == [None] * (len(parts) - 1) + ["stop"]
    assert usage.choices == []
    assert usage.usage.completion_tokens > 0
    assert parts[-1].choices[0].log_probability < 0
    assert len({chunk.id for chunk in chunks}) == 1


def test_tokens_are_sent_before_the_answer_ends(client):
    long = max(PAIRS.values(), key=len)
    prompt = next(prompt for prompt, code in PAIRS.items() if code == long)
    parts = list(client.completions.create(model="tiny", prompt=prompt, stream=True, temperature=1e-6))
    assert sum(bool(part.choices[0].text) for part in parts) > 1  # how many depends on how fast the steps are


def test_a_chat(client):
    messages = [{"role": "assistant", "content": "before"}, {"role": "user", "content": FIRST}]
    answer = client.chat.completions.create(model="tiny", messages=messages)
    assert answer.choices[0].message.content == CODE
    assert answer.choices[0].message.role == "assistant"
    parts = [{"type": "text", "text": FIRST[:5]}, {"type": "text", "text": FIRST[5:]}]
    stream = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": parts}], stream=True)
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == CODE
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_system_text_comes_before_the_prompt(client):
    head, _, tail = FIRST.partition(" ")
    messages = [{"role": "system", "content": head}, {"role": "user", "content": tail}]
    split = client.chat.completions.create(model="tiny", messages=messages)
    whole = client.completions.create(model="tiny", prompt=f"{head}\n{tail}")
    assert split.choices[0].message.content == whole.choices[0].text


def test_settings_of_a_request(client, generators):
    generator = generators("learned", beam_size=2, max_tokens=48)
    stopped = client.completions.create(model="tiny", prompt=FIRST, stop=["return", "never"])
    assert stopped.choices[0].text == CODE[: CODE.index("return")]
    assert stopped.choices[0].finish_reason == "stop"
    cut = client.completions.create(model="tiny", prompt=FIRST, max_tokens=3)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage.completion_tokens == 3
    echoed = client.completions.create(model="tiny", prompt=FIRST, echo=True)
    assert echoed.choices[0].text == FIRST + CODE
    both = client.completions.create(model="tiny", prompt=FIRST, n=2)
    assert [choice.index for choice in both.choices] == [0, 1]
    assert both.choices[0].log_probability > both.choices[1].log_probability
    drawn = client.completions.create(model="tiny", prompt=FIRST, n=3, temperature=3.0, seed=7)
    again = client.completions.create(model="tiny", prompt=FIRST, n=3, temperature=3.0, seed=7)
    assert [choice.text for choice in drawn.choices] == [choice.text for choice in again.choices]
    settings = {"beam_size": 1, "temperature": 3.0, "samples": 3, "seed": 7}
    (expected,) = generator.generate([FIRST], generator.decode.__class__(**{**vars(generator.decode), **settings}))
    assert sorted(choice.text for choice in drawn.choices) == sorted(each.text for each in expected.hypotheses)


def whole_or_streamed(create, **fields):
    """A response, and the same request's stream as one: of each choice the text, its ``logprobs`` and its end."""
    whole = create(model="tiny", **fields)
    found = {}
    for chunk in create(model="tiny", stream=True, **fields):
        for choice in chunk.choices:
            kept = found.setdefault(choice.index, {"text": "", "logprobs": None, "end": None})
            text = choice.text if hasattr(choice, "text") else choice.delta.content
            kept["text"] += text or ""
            kept["logprobs"] = choice.logprobs.model_dump() if choice.logprobs else kept["logprobs"]
            kept["end"] = choice.finish_reason or kept["end"]
    return whole, [found[index] for index in sorted(found)]


@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.5, "seed": 3}, {"extra_body": {"grammar": "regex:[ab]{3}"}}]
)
def test_probabilities_of_tokens(client, settings):
    fields = {"prompt": FIRST, "logprobs": 2, "echo": True, "n": 2, **settings}
    whole, streamed = whole_or_streamed(client.completions.create, **fields)
    for choice, parts in zip(whole.choices, streamed, strict=True):
        scored = choice.logprobs
        assert (parts["text"], parts["end"]) == (choice.text, choice.finish_reason)
        assert parts["logprobs"] == scored.model_dump()
        assert FIRST + "".join(scored.tokens) == choice.text  # these tokens hold whole characters
        offsets = [len(FIRST + "".join(scored.tokens[:place])) for place in range(len(scored.tokens))]
        assert scored.text_offset == offsets
        for token, log_p, best in zip(scored.tokens, scored.token_logprobs, scored.top_logprobs, strict=True):
            assert best[token] == pytest.approx(log_p)
            assert 2 <= len(best) <= 3
            assert max(best.values()) <= 0
    if not settings:  # the end token is the rest of the sum
        rest = [choice.log_probability - sum(choice.logprobs.token_logprobs) for choice in whole.choices]
        assert all(-20 < each < 1e-3 for each in rest)


def test_probabilities_of_the_best_answer_are_the_searchs(client):
    choice = client.completions.create(model="tiny", prompt=FIRST, logprobs=0).choices[0]
    assert choice.logprobs.top_logprobs is None
    assert choice.text == CODE
    assert sum(choice.logprobs.token_logprobs) == pytest.approx(
        choice.log_probability, abs=0.05
    )  # it is known by heart


def test_probabilities_end_with_the_text(client):
    choice = client.completions.create(model="tiny", prompt=FIRST, logprobs=1, stop="return").choices[0]
    assert choice.text == CODE[: CODE.index("return")]
    assert "".join(choice.logprobs.tokens).startswith(choice.text)
    assert choice.logprobs.text_offset[-1] < len(choice.text)


def test_probabilities_of_parts_of_characters(client):
    prompt = "Größe in µm ▁"
    whole, (streamed,) = whole_or_streamed(
        client.chat.completions.create,
        messages=[{"role": "user", "content": prompt}],
        logprobs=True,
        top_logprobs=3,
    )
    (choice,) = whole.choices
    assert streamed["text"] == choice.message.content == PAIRS[prompt]
    assert streamed["logprobs"] == choice.logprobs.model_dump()
    content = choice.logprobs.content
    assert bytes(byte for token in content for byte in token.bytes).decode() == PAIRS[prompt]
    assert any(len(token.bytes) > 1 for token in content)
    assert all(len(token.top_logprobs) == 3 for token in content)
    likely = [token.top_logprobs[0].logprob for token in content]
    assert likely == [max(best.logprob for best in token.top_logprobs) for token in content]
    silent = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": prompt}], logprobs=True
    ).choices[0]
    assert [token.logprob for token in silent.logprobs.content] == [token.logprob for token in content]
    assert silent.logprobs.content[0].top_logprobs == []


def test_the_best_of_several_samples(client):
    asked = {"prompt": FIRST, "temperature": 3.0, "seed": 5}
    samples = client.completions.create(model="tiny", n=4, **asked)
    expected = [choice.text for choice in samples.choices]
    best, (streamed, _) = whole_or_streamed(client.completions.create, n=2, best_of=4, **asked)
    assert {choice.text for choice in best.choices} < set(expected)
    single = client.completions.create(model="tiny", n=1, best_of=4, **asked)
    assert single.choices[0].text == best.choices[0].text
    assert [choice.index for choice in best.choices] == [0, 1]
    assert streamed["text"] == best.choices[0].text
    assert best.usage.completion_tokens == samples.usage.completion_tokens  # those of all samples
    two = client.completions.create(model="tiny", n=1, best_of=2, **{**asked, "prompt": [FIRST, "Say hello."]})
    assert [choice.index for choice in two.choices] == [0, 1]


def test_a_stop_string_is_never_sent_in_part(client):
    chunks = client.completions.create(model="tiny", prompt=FIRST, stop="return a", stream=True, temperature=1e-6)
    assert "".join(chunk.choices[0].text for chunk in chunks) == CODE[: CODE.index("return a")]


def test_answers_follow_a_grammar(client):
    answer = client.completions.create(model="tiny", prompt=FIRST, extra_body={"grammar": "regex:[ab]{3}"})
    assert len(answer.choices[0].text) == 3
    asked = {"type": "json_schema", "json_schema": {"name": "one", "schema": {"enum": ["ab", "cd"]}}}
    chat = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": FIRST}], response_format=asked
    )
    assert json.loads(chat.choices[0].message.content) in ("ab", "cd")
    lark = 'lark:start: "x" "y"'
    assert client.completions.create(model="tiny", prompt=FIRST, extra_body={"grammar": lark}).choices[0].text == "xy"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": "a \ud800"}, "prompt"),
        ({"suffix": "}"}, "suffix"),
        ({"suffix": 1}, "suffix"),
        ({"n": 3}, "n"),
        ({"n": 10_000, "temperature": 1}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"stop": [""]}, "stop"),
        ({"stop": "x" * 300}, "stop"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 2, "best_of": 1}, "best_of"),
        ({"best_of": 3}, "best_of"),
        ({"best_of": 129, "temperature": 1}, "best_of"),
        ({"presence_penalty": 1}, "presence_penalty"),
        ({"stream": 1}, "stream"),
        ({"grammar": "/etc/passwd.lark"}, "grammar"),
        ({"grammar": "schema:/etc/passwd"}, "grammar"),
        ({"grammar": "lark:start: ("}, "grammar"),
        ({"grammar": "regex:("}, "grammar"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"seed": 10**400}, "seed"),
    ],
)
def test_what_is_impossible_is_refused(served, fields, param):
    status, _, body = post(served, "/v1/completions", {"model": "tiny", "prompt": "a", **fields})
    assert status == 400
    assert body["error"]["param"] == param
    assert body["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"messages": [{"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function"}]},
        {"messages": [{"role": "user", "content": "a"}], "top_logprobs": 2},
    ],
)
def test_what_a_chat_cannot_be_is_refused(served, fields):
    assert post(served, "/v1/chat/completions", {"model": "tiny", **fields})[0] == 400


def test_unknown_fields_and_neutral_values_are_ignored(served):
    more = {"user": "me", "store": True, "unknown": {"a": 1}, "presence_penalty": 0, "logit_bias": {}, "top_p": 0.9}
    status, _, body = post(served, "/v1/completions", {"prompt": FIRST, **more})
    assert (status, body["choices"][0]["text"]) == (200, CODE)


def test_a_prompt_that_is_too_long_is_refused_and_not_cut(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="tiny", prompt=["a", "Return " * 100])
    assert refused.value.code == "context_length_exceeded"
    assert "number 2" in refused.value.message


def test_a_model_without_an_embedding_head_makes_no_vectors(client):
    with pytest.raises(openai.BadRequestError, match="embedding head"):
        client.embeddings.create(model="tiny", input="a")


def test_health_and_metrics(served):
    with urllib.request.urlopen(f"{served.url}/ready") as answer:
        assert answer.status == 200
    with urllib.request.urlopen(f"{served.url}/metrics") as answer:
        text = answer.read().decode()
    assert 't2c_requests_total{endpoint="/v1/completions",status="200"}' in text
    assert 't2c_time_to_first_token_seconds_count{model="tiny"}' in text
    assert 't2c_running_prompts{model="tiny"} 0.0' in text
