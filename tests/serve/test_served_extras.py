"""What answers have beyond OpenAI's fields: vectors, confidence, provenance."""

import base64

import jax
import numpy as np
import openai
import pytest
from served import post, serving
from tiny import both, experiment, one_device
from tiny_generators import BLOCKS, DATA, PAIRS, tokenizer, tokenizers

from t2c_jax.decode.embedder import Embedder
from t2c_jax.decode.generator import Member
from t2c_jax.decode.rerank.candidates import reordered
from t2c_jax.models.definition import Definition

FIRST, CODE = next(iter(PAIRS.items()))
TEXTS = ["Say hello.", CODE, "Größe in µm ▁"]


@pytest.fixture(scope="module")
def embedder():
    config = experiment(data=DATA, model={**both(**BLOCKS), "output_heads": ("embedding",)})
    definition = Definition(config.model, tokenizer().vocab_size)
    params = jax.jit(definition.init)(jax.random.key(0))
    return Embedder(Member(definition, params), tokenizers(), config.data, 4, one_device())


def second_first(prompts, answers):
    """A reranker that chooses the second candidate."""
    return [
        reordered(prompt, answer, [answer.candidates[1], answer.candidates[0]], 0.75)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


@pytest.fixture(scope="module")
def served(generators, embedder):
    generator = generators("learned", beam_size=2, max_tokens=48)
    with serving(generator, embedder=embedder, rerank=second_first, language="python") as found:
        found.model.warm_up()
        yield found


def test_vectors_are_the_librarys(served, embedder):
    expected = embedder.embed(TEXTS)
    with served.client() as client:
        found = client.embeddings.create(model="tiny", input=TEXTS)  # the client asks for base64, and decodes it
        assert [each.index for each in found.data] == [0, 1, 2]
        np.testing.assert_allclose([each.embedding for each in found.data], expected, atol=1e-6)
        assert found.usage.total_tokens == sum(each.size for each in embedder.read(TEXTS))
        plain = client.embeddings.create(model="tiny", input=TEXTS[1], encoding_format="float")
        np.testing.assert_allclose(plain.data[0].embedding, expected[1], atol=1e-6)
        with pytest.raises(openai.BadRequestError) as refused:
            client.embeddings.create(model="tiny", input=["a", "Return " * 100])
        assert refused.value.code == "context_length_exceeded"
    assert np.linalg.norm(expected, axis=1) == pytest.approx(np.ones(3))
    _, _, body = post(served, "/v1/embeddings", {"input": TEXTS[0], "encoding_format": "base64"})
    vector = np.frombuffer(base64.b64decode(body["data"][0]["embedding"]), "<f4")
    np.testing.assert_allclose(vector, expected[0], atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": [1]}, "input"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "dimensions": 8}, "dimensions"),
    ],
)
def test_vectors_that_are_impossible_are_refused(served, fields, param):
    status, _, body = post(served, "/v1/embeddings", fields)
    assert (status, body["error"]["param"]) == (400, param)


def test_a_reranker_chooses_and_says_how_likely_it_is_right(served):
    with served.client() as client:
        choice = client.completions.create(model="tiny", prompt=FIRST).choices[0]
        assert choice.text != CODE  # the best of the search, which the reranker does not choose
        assert choice.confidence == 0.75
        parts = list(client.completions.create(model="tiny", prompt=FIRST, stream=True))
        assert [part.choices[0].text for part in parts] == [choice.text, ""]  # whole: it is chosen at the end
        assert parts[-1].choices[0].confidence == 0.75
        both_ = client.completions.create(model="tiny", prompt=FIRST, n=2, logprobs=1).choices
        assert [each.text for each in both_] == [choice.text, CODE]
        assert not hasattr(both_[1], "confidence")  # it is that of the first
        assert all(each.logprobs.tokens for each in both_)
        (card,) = client.models.list().data
        assert (card.has_confidence, card.embeds, card.language) == (True, True, "python")


def test_a_reranker_is_silent_about_other_searches(served):
    with served.client() as client:
        for settings in ({"temperature": 1e-6}, {"max_tokens": 20}, {"stop": "return"}):
            choice = client.completions.create(model="tiny", prompt=FIRST, **settings).choices[0]
            assert not hasattr(choice, "confidence")
            assert CODE.startswith(choice.text)


def test_provenance_says_what_was_copied(served):
    with served.client() as client:
        shares = client.completions.create(model="tiny", prompt=FIRST, temperature=1e-6).choices[0].provenance
        assert shares == {"generated": pytest.approx(1.0), "prompt": 0.0, "neighbours": 0.0}
