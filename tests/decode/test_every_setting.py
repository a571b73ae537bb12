"""Every setting of config.decode with every kind of model: cached steps are the full forward, batches their prompts.

The settings of each row of ``SETTINGS`` are values of a few programs, in which every rule is compiled, and those that a
setting does not ask for are neutral.
"""

import dataclasses
import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from grammar_tokenizers import allowed
from tiny import mixture
from tiny_generators import KINDS, PROMPTS

from t2c_jax.config import DecodeConfig
from t2c_jax.decode.generator import sample_key
from t2c_jax.decode.grammar.beams import Beams
from t2c_jax.decode.grammar.compiled import Grammar
from t2c_jax.decode.logits_processors import FORBIDDEN, unwritable
from t2c_jax.decode.sampling import draw
from t2c_jax.decode.search import requests

STEPS = 12
NEVER = ("\0 never",)
NEUTRAL = DecodeConfig(beam_size=1, max_tokens=STEPS, batch_size=2)
DRAWING = {"temperature": 1.2, "samples": 2}
STOP = ("e", "a", "r")
RULES = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "stop": STOP}
BONUS = {"idf_weight": 0.4, "prompt_lookup": 3}
BEAM = {"beam_size": 4}
DIVERSE = {**BEAM, "idf_weight": 0.4, "beam_groups": 2, "diversity_penalty": 1.0}
GRAMMAR = {"grammar": "regex:[A-Za-z]{2,3}( [a-z]+){0,2}"}
SETTINGS = {
    "greedy": {},
    "special pieces": {"special_pieces": True},
    "repetition penalty": {"repetition_penalty": 1.5},
    "n-gram rule": {"no_repeat_ngram_size": 2},
    "stop strings": {"stop": STOP},
    "few tokens": {"max_tokens": 5},
    "sampling": DRAWING,
    "truncated sampling": {**DRAWING, "top_k": 20, "top_p": 0.95, "min_p": 0.01, "seed": 3},
    "sampling, rules": {**DRAWING, **RULES},
    "bonus, lookup": BONUS,
    "bonus, lookup, rules": {**BONUS, **RULES},
    "beam": BEAM,
    "impatient beam": {**BEAM, "patience": 0.5, "length_penalty": 0.3},
    "beam, rules": {**BEAM, **RULES},
    "diverse beam, bonus, rules": {**DIVERSE, **RULES},
    "grammar": {**GRAMMAR, "no_repeat_ngram_size": 2},
    "beam, grammar": {**GRAMMAR, **BEAM, "repetition_penalty": 1.3},
}
ANSWERS, DRAWS = 4 * len(PROMPTS), 2 * len(PROMPTS) * STEPS
ROUNDING = 2e-4  # sums of a dozen float32 log-probabilities, computed in another order


def test_no_setting_is_left_out():
    """The batch size, which other shapes belong to, is in ``test_other_shapes.py``.

    Reranking is no part of the search; it is in ``tests/commands/test_rerank.py``.
    """
    values = {field.name: {field.default} for field in dataclasses.fields(DecodeConfig)}
    for settings in [dataclasses.asdict(NEUTRAL), *SETTINGS.values()]:
        for name, value in settings.items():
            values[name].add(value)
    assert {name for name, found in values.items() if len(found) < 2} == {"rerank"}


def everything(settings):
    """What the program of a setting is compiled for."""
    draws = settings.beam_size == 1 and not settings.prompt_lookup and not settings.grammar
    stop = () if settings.grammar else NEVER
    return replace(settings, temperature=float(draws), repetition_penalty=2.0, no_repeat_ngram_size=1, stop=stop)


class Table:
    """A generator whose settings share programs, and its models' full forward."""

    def __init__(self, generator):
        self.generator, self.tokenizer = generator, generator.tokenizer
        random = np.random.default_rng(0)
        self.bonus_V = random.uniform(0, 5, generator._definitions[0].vocab_size).astype(np.float32)
        generator._inverse_frequency = lambda: self.bonus_V
        compiled = functools.cache(generator._compiled)
        generator._search = lambda settings: compiled(everything(settings))
        self.grammar = functools.cache(lambda spec: Grammar.compile(spec, self.tokenizer, STEPS))
        self.full = jax.jit(self._full)
        self.unwritable = functools.cache(lambda special: {*unwritable(self.tokenizer, special_pieces=special)})

    def found(self, sources, settings):
        """(row, sample, beam), tokens, score and log-probability over all tokens, of all hypotheses that are there."""
        read = self.generator.prompts.encode(sources, special_pieces=settings.special_pieces)
        every = {}
        for row, sample, found in self.generator._answers(sources, read, settings):
            for beam, length in enumerate(found.lengths.tolist()):
                score = found.scores[beam] * max(1, length) ** settings.length_penalty
                if score > FORBIDDEN / 2:
                    log_p = score if found.log_p is None else found.log_p[beam]
                    tokens = found.tokens[beam].tolist()
                    assert not any(tokens[length:])
                    every[row, sample, beam] = tokens[:length], score, log_p, bool(found.finished[beam])
        return dict(sorted(every.items()))

    def logits(self, sources, answers, settings):
        """Of all steps of (row of the source, tokens), under teacher forcing, (A, T, V)."""
        assert len(answers) <= ANSWERS
        answers = [*answers, *[answers[0]] * (ANSWERS - len(answers))]
        read = self.generator.prompts.encode(sources, special_pieces=settings.special_pieces)
        batch = self.generator.prompts.batch([read[row] for row, _ in answers], ANSWERS)
        tokens_AT = np.array([[*tokens, *[0] * (STEPS - len(tokens))] for _, tokens in answers], np.int32)
        start_A1 = np.full((ANSWERS, 1), self.tokenizer.start, np.int32)
        batch["decoder_input_tokens"] = np.concatenate([start_A1, tokens_AT[:, :-1]], axis=1)
        batch["decoder_segment_ids"] = np.ones_like(tokens_AT)
        batch["decoder_positions"] = np.broadcast_to(np.arange(STEPS, dtype=np.int32), tokens_AT.shape)
        return np.asarray(self.full(self.generator.params, batch))

    def _full(self, params, batch):
        definitions, logs = self.generator._definitions, []
        for definition, each in zip(definitions, params, strict=True):
            model = definition.bind(each)
            prediction = model.predict(batch)
            logits = model.logits(prediction.states_BTD)
            # Rules that depend on logits see those of a single model as they are.
            single = len(definitions) == 1 and prediction.copying is None
            logs.append(logits if single else mixture(prediction, logits))
        return logs[0] if len(logs) == 1 else jax.nn.logsumexp(jnp.stack(logs), axis=0) - np.log(len(logs))

    def has_stopped(self, tokens, settings):
        text = self.tokenizer.decode(tokens) if settings.stop else ""
        return any(stop in text for stop in settings.stop)

    def processed(self, logits_V, tokens, settings):
        """Log-probabilities with what the rules make of them, written out."""
        eos, log_z = self.tokenizer.eos, np.logaddexp.reduce(logits_V)
        if self.has_stopped(tokens, settings):
            return np.where(np.arange(len(logits_V)) == eos, 0.0, FORBIDDEN)
        logits_V = logits_V + settings.idf_weight * self.bonus_V
        forbidden = {*self.unwritable(settings.special_pieces)}
        for token in {*tokens} - forbidden:
            value = logits_V[token]
            logits_V[token] = value / settings.repetition_penalty if value > 0 else value * settings.repetition_penalty
        size = settings.no_repeat_ngram_size
        grams = [tuple(tokens[at : at + size]) for at in range(len(tokens) - size + 1)] if size else []
        forbidden |= {gram[-1] for gram in grams if gram[:-1] == tuple(tokens[len(tokens) + 1 - size :])}
        if settings.grammar:
            followed = Beams(self.grammar(settings.grammar), 1, 1)
            followed.reset(0)
            for token in tokens:
                followed.masks()
                followed.advance({0: ([token], [0])})
            forbidden |= {*range(len(logits_V))} - {*allowed(followed.masks()[0, 0], len(logits_V)).tolist()}
        logits_V[list(forbidden)] = FORBIDDEN
        return logits_V - log_z


@pytest.fixture(scope="module", params=KINDS)
def table(request, generators):
    """Of a kind of model."""
    return Table(generators(request.param))


drawn = jax.jit(draw)


@pytest.mark.parametrize("setting", SETTINGS)
def test_cached_steps_are_the_full_forward_and_a_batch_is_its_prompts_alone(table, setting):
    """Every hypothesis scores what the full forward says, and greedy search and sampling choose what it says."""
    settings = replace(NEUTRAL, **SETTINGS[setting])
    together = table.found(PROMPTS, settings)
    for row in (1, 2):  # of which the second is given a row that has answered another prompt
        alone = table.found([PROMPTS[row]] * 2, settings)
        of_the_batch = {key: one for key, one in together.items() if key[0] == row}
        of_itself = {key: one for key, one in alone.items() if key[0] == 0}
        assert [(*key[1:], one[0]) for key, one in of_the_batch.items()] == [
            (*key[1:], one[0]) for key, one in of_itself.items()
        ]
        for one, other in zip(of_the_batch.values(), of_itself.values(), strict=True):
            np.testing.assert_allclose(one[1:3], other[1:3], atol=ROUNDING)

    logits_ATV = table.logits(PROMPTS, [(key[0], one[0]) for key, one in together.items()], settings)
    chosen, keys, steps = [], [], []
    for (key, one), logits_TV in zip(together.items(), logits_ATV, strict=False):
        (row, sample, _), (tokens, score, log_p, finished) = key, one
        processed_TV = [table.processed(logits_TV[step], tokens[:step], settings) for step in range(len(tokens))]
        ranked = sum(processed_TV[step][token] for step, token in enumerate(tokens))
        np.testing.assert_allclose(score, ranked, atol=ROUNDING)
        log_p_TV = np.asarray(logits_TV) - np.logaddexp.reduce(logits_TV, axis=-1, keepdims=True)
        own = [
            log_p_TV[step, token] for step, token in enumerate(tokens) if not table.has_stopped(tokens[:step], settings)
        ]
        np.testing.assert_allclose(log_p, sum(own), atol=ROUNDING)
        assert finished == (table.tokenizer.eos in tokens)
        assert len(tokens) <= settings.max_tokens
        if not finished and not settings.grammar and settings.beam_size == 1:
            assert len(tokens) == settings.max_tokens
        chosen += [(logits_V, token) for logits_V, token in zip(processed_TV, tokens, strict=True)]
        keys += [sample_key(settings.seed, PROMPTS[row], sample)] * len(tokens)
        steps += range(len(tokens))
    if settings.beam_size == 1:
        best_N = np.argmax([logits_V for logits_V, _ in chosen], axis=-1)
        if settings.temperature:
            padding = [(0, DRAWS - len(keys)), (0, 0)]
            asked = requests(
                DRAWS, STEPS, temperature=settings.temperature, top_k=settings.top_k, top_p=settings.top_p,
                min_p=settings.min_p, keys=np.pad(keys, padding),
            )  # fmt: skip
            processed_NV = np.pad(np.array([logits_V for logits_V, _ in chosen], np.float32), padding)
            best_N = drawn(processed_NV, np.pad(best_N, padding[0]), asked, np.pad(steps, padding[0]))[: len(keys)]
        assert best_N.tolist() == [token for _, token in chosen]
