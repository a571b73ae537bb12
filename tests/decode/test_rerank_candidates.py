"""The candidates of an answer, their features, and the answer in another order."""

import math

import numpy as np
import pytest

from t2c_jax.data.retrieved import Retrieved
from t2c_jax.decode.generator import Answer, Hypothesis
from t2c_jax.decode.grammar.membership import Membership
from t2c_jax.decode.rerank.candidate_features import Features, expected_similarities
from t2c_jax.decode.rerank.candidates import candidates_of, reordered, with_neighbours
from t2c_jax.decode.scorer import Likelihood
from t2c_jax.languages.similarity import CharacterNgrams

A, B, C = "def f(a): return a", "def f(b): return b", "print"


def answer(*found, neighbours=()):
    """An answer with hypotheses (text, probability, finished), best first."""
    hypotheses = tuple(Hypothesis(text, math.log(p), math.log(p), ended, 4) for text, p, ended in found)
    first = hypotheses[0]
    return Answer(first.text, first.score, first.finished, False, (first.text,), hypotheses, neighbours)


def test_equal_texts_are_one_candidate():
    found = answer((A, 0.3, True), (B, 0.2, True), (A, 0.1, True), (C, 0.6, False))
    beam = candidates_of(found, sampled=False)
    assert [each.text for each in beam] == [A, B], "an unfinished one is none"
    assert [each.probability for each in beam] == pytest.approx([2 / 3, 1 / 3])
    assert beam[0].hypothesis.log_probability == math.log(0.3)
    drawn = candidates_of(answer((A, 0.3, True), (B, 0.2, True), (B, 0.2, True)), sampled=True)
    assert [each.probability for each in drawn] == pytest.approx([1 / 3, 2 / 3]), "as often as they were drawn"
    unfinished = candidates_of(answer((A, 0.3, False), (B, 0.1, False)), sampled=False)
    assert [each.text for each in unfinished] == [A, B]


def test_another_order_is_another_answer():
    found = answer((A, 0.3, True), (B, 0.2, True), (A, 0.1, True), (C, 0.6, False))
    turned = reordered("def f(b)", found, [B, A], 0.25)
    assert (turned.best, turned.score, turned.finished, turned.confidence) == (B, math.log(0.2), True, 0.25)
    assert turned.candidates == (B, A)
    assert [each.text for each in turned.hypotheses] == [B, A, A, C]
    assert turned.provenance.prompt > reordered("def f(b)", found, [A, B], 0.25).provenance.prompt > 0
    assert reordered("p", answer((A, 0.3, False), (B, 0.2, False)), [B, A], 0.1).candidates == (B,)


class Reviewer:
    """Says that a prompt is as likely as the candidate is long."""

    def score(self, pairs, *, advance=None):
        return [Likelihood(-float(len(answer)), len(prompt)) for answer, prompt in pairs]


def test_features_of_candidates():
    near = Retrieved("n", "a text", B, 0.9)
    answers = [answer((A, 0.5, True), (C, 0.25, True), neighbours=(near,)), answer((B, 0.5, True), neighbours=(near,))]
    everything = Features(
        sampled=False, to_text=False, parses=lambda text: text == A, reviewer=Reviewer(), scorer=Reviewer()
    )
    first, second = everything(["ab", "abcd"], answers)
    names = ("log_probability", "length", "parses", "reviewer", "consensus", "neighbours", "retrieved")
    assert everything.names == names
    assert (first.texts, second.texts) == ((A, C), (B,))
    similarity = CharacterNgrams(A).similarity(CharacterNgrams(C))
    np.testing.assert_allclose(
        first.values_CF,
        [
            [math.log(0.5) / 4, math.log(4), 1, -len(A) / 2, 2 / 3 + similarity / 3, _similarity(A, B), 0],
            [math.log(0.25) / 4, math.log(4), 0, -len(C) / 2, 2 / 3 * similarity + 1 / 3, _similarity(C, B), 0],
        ],
    )
    np.testing.assert_allclose(second.values_CF, [[math.log(0.5) / 4, math.log(4), 0, -len(B) / 4, 1, 1, 1]])
    to_text = Features(sampled=False, to_text=True, scorer=Reviewer())
    assert to_text.names == ("log_probability", "length", "consensus", "neighbours", "retrieved")
    (found, _) = to_text(["ab", "abcd"], answers)
    assert found.values_CF[0, -2] == pytest.approx(_similarity(A, "a text"))


@pytest.mark.parametrize("sampled", [False, True])
def test_what_neighbours_say_is_a_candidate(sampled):
    """Once, behind what the search found, and of no weight in the consensus."""
    near = [Retrieved(str(number), "a text", code, 0.9) for number, code in enumerate((B, A, B))]
    found = [answer((A, 0.5, True), (C, 0.25, False), neighbours=(*near,)), answer((C, 0.5, False))]
    first, second = with_neighbours(["ab", "abcd"], found, Reviewer(), 2.0, to_text=False)
    *own, added = first.hypotheses
    assert (*own,) == found[0].hypotheses
    assert added == Hypothesis(B, -2 / len(B) ** 2, -2.0, True, len(B), retrieved=True)
    assert second == found[1]
    assert [each.text for each in candidates_of(first, sampled=sampled)] == [A, B]
    assert [each.probability for each in candidates_of(first, sampled=sampled)] == [1, 0]
    chosen = reordered("ab", first, [B, A], 0.5)
    assert (chosen.best, chosen.candidates, chosen.hypotheses[0].retrieved) == (B, (B, A), True)
    (text,) = with_neighbours(["ab"], [answer((A, 0.5, False), neighbours=(near[0],))], Reviewer(), 1, to_text=True)
    assert [each.text for each in candidates_of(text, sampled=sampled)] == [A, "a text"], "none of the search is"
    assert reordered("ab", text, [A, "a text"], 0.5).best == A


def _similarity(one, other):
    return CharacterNgrams(one).similarity(CharacterNgrams(other))


def test_a_likely_group_of_like_texts_is_the_consensus():
    """The mode is alone; two less likely texts support each other."""
    found = candidates_of(answer((C, 0.4, True), (A, 0.3, True), (B, 0.3, True)), sampled=False)
    assert int(np.argmax(expected_similarities(found))) == 1


def test_similarity_is_chrf_of_beta_one():
    from sacrebleu.metrics.chrf import CHRF

    chrf = CHRF(beta=1, eps_smoothing=True)
    for one, other in ((A, B), (A, C), ("find . -name '*.py'", "find / -type f")):
        expected = chrf.sentence_score(one, [other]).score / 100
        assert _similarity(one, other) == pytest.approx(expected, abs=1e-6)
        assert _similarity(one, other) == _similarity(other, one)
    assert (_similarity("", ""), _similarity("", A), _similarity(A, A)) == (1, 0, 1)


def test_texts_of_a_grammar():
    bash = Membership("bash")
    assert bash("find . -name '*.txt' | wc -l")
    assert not any(map(bash, ["ls |", "echo 'a", "", " \n", "\ud800"]))
    line = Membership("python-line")
    assert line("if x :")
    assert not line("if x")
