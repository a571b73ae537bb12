"""Code for a gap, as several clients ask for it."""

import json
import urllib.request

import openai
import pytest
from served import post, serving
from tiny_generators import extract_kept_runs, tokenizer, tokenizers

from t2c_jax.data.infilling import InfillPrompts
from t2c_jax.data.templates import SourceTemplate
from t2c_jax.library.run import open_run
from t2c_jax.library.serving import served_model
from t2c_jax.serve import api_fields

BEFORE, AFTER = "def add(a, b):\n    return ", "\n"
LENGTH = 40


@pytest.fixture(scope="module")
def infills():
    return InfillPrompts(tokenizer(), SourceTemplate.of(tokenizers()), tokenizer().sentinels[0], LENGTH)


@pytest.fixture(scope="module")
def served(generators, infills):
    with serving(generators("learned", beam_size=2, max_tokens=48), infills=infills) as found:
        found.model.warm_up()
        yield found


@pytest.fixture(scope="module")
def expected(generators, infills):
    """The library's answer to what the encoder reads of the gap."""
    generator = generators("learned", beam_size=2, max_tokens=48)
    read = infills.encode(BEFORE, AFTER)
    (found,) = generator._answers([BEFORE + AFTER], [read], generator.decode)
    return generator.hypotheses(generator.decode, found[2])[0]


def events(served, path, body):
    request = urllib.request.Request(
        served.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        lines = answer.read().decode().split("\n\n")
    return [line.removeprefix("data: ") for line in lines if line]


def test_a_suffix_asks_for_the_middle(served, expected):
    with served.client() as client:
        fields = {"model": "tiny", "prompt": BEFORE, "suffix": AFTER}
        answer = client.completions.create(**fields)
        parts = client.completions.create(**fields, stream=True)
        assert answer.choices[0].text == expected.text == "".join(part.choices[0].text for part in parts)
        assert answer.choices[0].log_probability == pytest.approx(expected.log_probability, abs=1e-3)
        text = client.completions.create(model="tiny", prompt=BEFORE, suffix="")
        assert text.choices[0].text != expected.text  # without a suffix the prompt is a text
        assert client.models.retrieve("tiny").fills_in_the_middle
        with pytest.raises(openai.BadRequestError) as refused:
            client.completions.create(model="tiny", prompt=BEFORE, suffix="a = b\n" * 40)
        assert refused.value.code == "context_length_exceeded"
        echoed = client.completions.create(**fields, echo=True)
        assert echoed.choices[0].text == BEFORE + expected.text


def test_a_run_with_the_task_fills(tmp_path):
    extract_kept_runs(tmp_path)
    task = ("data.tasks.middle.objective=fill_in_the_middle", "data.tasks.middle.prefix=Fill: ")
    made = [open_run(str(tmp_path / "copying"), overrides=overrides) for overrides in (task, ())]
    models = [served_model("copying", run, 4) for run in made]
    assert [model.fills for model in models] == [True, False]
    read = made[0].infill_prompts.encode("a", "b")
    text = made[0].generator.tokenizer.decode(read.value.tolist())
    assert text == "Fill: ab"  # the sentinel is silent
    for model in models:
        model.close(drain=False)


@pytest.mark.parametrize("bar", ["", "|"])
def test_a_prompt_may_mark_the_gap(served, expected, bar):
    before, after, end = (f"<{bar}fim_{name}{bar}>" for name in ("prefix", "suffix", "middle"))
    _, _, body = post(served, "/v1/completions", {"prompt": f"{before}{BEFORE}{after}{AFTER}{end}"})
    assert body["choices"][0]["text"] == expected.text


def test_a_model_without_the_task_refuses_each_way(generators):
    with serving(generators("learned", beam_size=2, max_tokens=48)) as plain:
        for path, body in (
            ("/v1/completions", {"prompt": "a", "suffix": "b"}),
            ("/v1/fim/completions", {"prompt": "a"}),
            ("/infill", {"input_prefix": "a"}),
            ("/infill", {"input_prefix": "", "n_predict": 0}),
        ):
            status, _, answer = post(plain, path, body)
            assert status == 400, path
            assert "fill in the middle" in answer["error"]["message"]


def test_mistrals_way(served, expected):
    fields = {"model": "tiny", "prompt": BEFORE, "suffix": AFTER}
    status, _, body = post(served, "/v1/fim/completions", fields)
    assert (status, body["choices"][0]["message"]["content"]) == (200, expected.text)
    *parts, end = events(served, "/v1/fim/completions", {**fields, "stream": True})
    text = "".join(json.loads(part)["choices"][0]["delta"].get("content", "") for part in parts)
    assert (text, end) == (expected.text, "[DONE]")
    assert post(served, "/v1/fim/completions", {"suffix": "a"})[2]["error"]["param"] == "prompt"


def test_llama_cpps_way(served, expected):
    fields = {"input_prefix": BEFORE[:5], "prompt": BEFORE[5:], "input_suffix": AFTER, "n_predict": 64}
    _, _, body = post(served, "/infill", fields)
    assert body["content"] == expected.text
    assert (body["stop"], body["stop_type"], body["truncated"]) == (True, "eos", False)
    assert body["tokens_predicted"] == expected.tokens
    assert body["timings"]["predicted_n"] == expected.tokens
    *parts, end = map(json.loads, events(served, "/infill", {**fields, "stream": True}))
    assert "".join(part["content"] for part in [*parts, end]) == expected.text
    assert [part["stop"] for part in parts] == [False] * len(parts)
    assert end["stop"]
    named = ["content", "truncated", "timings/prompt_n", "nothing/of/it"]
    _, _, few = post(served, "/infill", {**fields, "response_fields": named})
    assert few == {"content": expected.text, "truncated": False, "timings/prompt_n": body["tokens_evaluated"]}
    _, _, short = post(served, "/infill", {**fields, "n_predict": 1})
    assert (short["tokens_predicted"], short["stop_type"]) == (1, "limit")


def test_llama_cpps_way_reads_what_is_nearest_to_the_gap(served):
    before, after = "a = 1\n" * 50, "b = 2\n" * 50
    status, _, body = post(served, "/infill", {"input_prefix": before, "input_suffix": after})
    assert (status, body["truncated"], body["tokens_evaluated"]) == (200, True, LENGTH)


def test_llama_cpps_warm_up_answers_nothing(served):
    before = served.model.scheduler.running
    status, _, body = post(served, "/infill", {"input_prefix": "", "input_extra": [], "n_predict": 0})
    assert (status, body["content"], before) == (200, "", 0)
    assert post(served, "/infill", {"n_predict": "many"})[2]["error"]["param"] == "n_predict"


@pytest.mark.parametrize(
    ("fields", "is_quick"),
    [
        ({}, True),
        ({"stream": True, "max_tokens": 9}, True),
        ({"prompt": "a" * 5000}, False),
        ({"suffix": "a" * 5000}, False),
        ({"temperature": 1.0, "n": 100}, False),
        ({"logprobs": 1}, False),
        ({"grammar": "json"}, False),
    ],
)
def test_the_event_loop_does_only_what_is_quick(served, fields, is_quick):
    model = served.model
    asked = api_fields.completion({"prompt": BEFORE, **fields}, model.settings, 0, fills=model.fills)
    assert model.is_quick(asked) is is_quick
    if is_quick:
        assert [each.is_quick for each in model.prompts_of(asked)] == [True]
