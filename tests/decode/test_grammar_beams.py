"""``Beams`` against fresh matchers that are fed the same tokens."""

import llguidance
import numpy as np
import pytest
from grammar_tokenizers import allowed, tokenizer_of

from t2c_jax.decode.grammar.beams import Beams
from t2c_jax.decode.grammar.compiled import Grammar
from t2c_jax.decode.grammar.engine import GrammarError

ROWS, WIDTH = 3, 4
LARK = """
start: block::0
block::_ : line::_ | line::_ block::_
line::_ : indent::_ NAME "\\n" | indent::_ "if " NAME ":\\n" block::incr(_) %if lt(_, 3)
indent::_ : "" %if eq(_, 0) | "  " indent::decr(_) %if gt(_, 0)
NAME: /[a-zé]+/
"""


@pytest.fixture(scope="module")
def grammar(tmp_path_factory):
    file = tmp_path_factory.mktemp("grammar") / "blocks.lark"
    file.write_text(LARK)
    return Grammar.compile(str(file), tokenizer_of("sentencepiece"), 64)


def expected(grammar, tokens):
    """The mask after tokens, by one matcher from the start."""
    eos = tokenizer_of("sentencepiece").eos
    if tokens and tokens[-1] == "dead":
        return []
    if eos in tokens:
        return list(range(grammar.spelling.size))
    matcher = grammar.root.deep_copy()
    assert matcher.consume_tokens(tokens) or not tokens
    mask = np.frombuffer(matcher.compute_bitmask(), np.uint32)
    writable = {i for i, text in enumerate(grammar.spelling.later) if text is not None} | {eos}
    return [i for i in allowed(mask, grammar.spelling.size).tolist() if i in writable]


@pytest.mark.parametrize("seed", range(4))
def test_masks_are_those_of_fresh_matchers(grammar, seed):
    """After any parents, tokens, ends and restarts of rows, whichever rows advance."""
    random, eos = np.random.default_rng(seed), tokenizer_of("sentencepiece").eos
    beams = Beams(grammar, ROWS, WIDTH)
    histories = [None] * ROWS
    for step in range(25):
        for row in range(ROWS):
            if histories[row] is None or random.random() < 0.08:
                histories[row] = [[] for _ in range(WIDTH)]
                beams.reset(row)
            elif random.random() < 0.04:
                histories[row] = [[eos]] * WIDTH
                beams.free(row)
        masks_BWN = beams.masks().copy()
        for row in range(ROWS):
            for beam in range(WIDTH):
                assert allowed(masks_BWN[row, beam], grammar.spelling.size).tolist() == expected(
                    grammar, histories[row][beam]
                ), (step, histories[row][beam])
        continued = {}
        for row in [row for row in range(ROWS) if random.random() < 0.9]:
            parents, tokens, following = random.integers(0, WIDTH, WIDTH).tolist(), [0] * WIDTH, []
            for beam, parent in enumerate(parents):
                ids = allowed(masks_BWN[row, parent], grammar.spelling.size)
                history = histories[row][parent]
                if ids.size and random.random() < 0.95:
                    # Few tokens, so that hypotheses agree now and then.
                    tokens[beam] = int(random.choice(ids[:6] if random.random() < 0.5 else ids))
                following.append([*history, tokens[beam] if tokens[beam] in ids else "dead"])
            histories[row], continued[row] = following, (tokens, parents)
        beams.advance(continued)


def chosen(ranks_WV, allowed_WV, eos):
    """Continuations of one row up to the W-th that is not eos, best first: (hypothesis, token)."""
    beams, size = ranks_WV.shape
    found, live = [], 0
    for place in np.argsort(-ranks_WV.reshape(-1), kind="stable").tolist():
        beam, token = divmod(place, size)
        if allowed_WV[beam, token]:
            found.append((beam, token))
            live += token != eos
            if live == beams or beams == 1:
                break
    return found


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("kind", ["sentencepiece", "wordpiece"])
@pytest.mark.parametrize("bias", [0, 4, 8], ids=["unlikely", "mixed", "likely"])
def test_judging_the_best_continuations_chooses_as_masks_do(kind, bias, width):
    """``bias``: how much likelier allowed tokens are than others; eos is always among the likely ones."""
    tokenizer, count = tokenizer_of(kind), 8
    grammar = Grammar.compile("regex:(a|b|c)( ?(a|b|c)){2,9}", tokenizer, 64)
    eos, size = tokenizer.eos, tokenizer.vocab_size
    random, resolved = np.random.default_rng(bias), 0
    lazy, full = Beams(grammar, 1, width), Beams(grammar, 1, width)
    history: set[int] = set()
    for step in range(60):
        if not step or full.dead_BW.all() or eos in history or random.random() < 0.05:
            lazy.reset(0)
            full.reset(0)
            history = set()
        bits_WV = np.unpackbits(full.masks().view(np.uint8), axis=-1, bitorder="little")[0, :, :size].astype(bool)
        ranks_WV = random.normal(size=(width, size)) + bias * bits_WV
        ranks_WV[..., eos] += 2
        best = [divmod(place, size) for place in np.argsort(-ranks_WV.reshape(-1), kind="stable")[:count].tolist()]
        allowed, is_enough = lazy.judge(0, best)
        expected = chosen(ranks_WV, bits_WV, eos)
        if is_enough:
            resolved += 1
            assert [best[place] for place in allowed] == expected
        else:
            assert [best[place] for place in allowed] == expected[: len(allowed)]
            np.testing.assert_array_equal(lazy.masks(), full.masks())
        live = [(beam, token) for beam, token in expected if token != eos]
        live += [(0, 0)] * (width - len(live))  # what is not there
        parents, tokens = zip(*live, strict=True)
        history.update(tokens)
        lazy.advance({0: (tokens, parents)})
        full.advance({0: (tokens, parents)})
    assert resolved > 8 or not bias


def test_equal_hypotheses_share_one_computation(grammar, monkeypatch):
    beams = Beams(grammar, 16, 4)
    for row in range(16):
        beams.reset(row)
    computed = []
    original = Grammar.bit_masks

    def counted(self, matchers):
        computed.append(len(matchers))
        return original(self, matchers)

    monkeypatch.setattr(Grammar, "bit_masks", counted)
    beams.masks()
    ids = allowed(beams.masks()[0, 0], grammar.spelling.size)
    beams.advance({row: (ids[:2].repeat(2).tolist(), [0] * 4) for row in range(16)})
    beams.masks()
    beams.masks()
    assert computed == [2]


def test_free_rows_allow_all(grammar):
    beams = Beams(grammar, 2, 2)
    everything = list(range(grammar.spelling.size))
    beams.reset(1)
    beams.advance({row: ([5, 5], [0, 0]) for row in range(2)})
    masks_BWN = beams.masks()
    assert allowed(masks_BWN[0, 0], grammar.spelling.size).tolist() == everything
    assert allowed(masks_BWN[1, 0], grammar.spelling.size).tolist() == []
    assert beams.dead_BW.tolist() == [[False, False], [True, True]]


def test_an_engine_that_fails_is_an_error(tmp_path, monkeypatch):
    """llguidance then allows eos, as if the answer were complete."""
    (tmp_path / "g.lark").write_text("start: many\nmany: one | one many\none: /[a-c]/\n")
    tokenizer = tokenizer_of("sentencepiece")
    grammar = Grammar.compile(f"{tmp_path}/g.lark", tokenizer)
    limits = llguidance.LLParserLimits(step_max_items=60, verbose_errors=False)
    root = llguidance.LLMatcher(grammar._tokenizer, grammar.source.lark, log_level=0, limits=limits)
    monkeypatch.setattr(grammar, "root", root)
    beams = Beams(grammar, 1, 1)
    beams.reset(0)
    failure = r"config.decode.grammar='.*g.lark' cannot be followed further: .*Too many items"

    def answer():
        for _ in range(200):
            token = next(i for i in allowed(beams.masks()[0, 0], tokenizer.vocab_size) if i != tokenizer.eos)
            beams.advance({0: ([int(token)], [0])})

    with pytest.raises(GrammarError, match=failure):
        answer()
