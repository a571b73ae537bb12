"""What a window's source and target tell together is the window, token by token, on real code by real tokenizers."""

import re
import sysconfig
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from t2c_jax.config import DataConfig, TaskConfig, TokenizerConfig
from t2c_jax.data.prepare import identifier_codes
from t2c_jax.data.tasks.task import TaskSetup, build_task
from t2c_jax.data.tokens import Tokens
from t2c_jax.tokenizers import sentencepiece as spm
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.tokenizers.training import train

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
FILES = ("json/decoder.py", "fractions.py", "string.py", "dataclasses.py", "contextlib.py", "shlex.py", "abc.py")
DATA = DataConfig(encoder_length=96, decoder_length=96)


@dataclass
class Pair:
    code: str
    language: str = "python"


@pytest.fixture(scope="module", params=[True, False], ids=["split_spaces", "default"])
def made(request):
    """A tokenizer trained on some of the standard library, and the tokens of it."""
    codes = [(LIBRARY / name).read_text("utf-8") for name in FILES]
    settings = TokenizerConfig(vocab_size=2000, sentinels=100, split_spaces=request.param)
    tokenizer = spm.SentencePieceTokenizer(train(settings, codes))
    pairs, ids = [Pair(code) for code in codes], tokenizer.encode_batch(codes)
    identifiers = [kept.tolist() for kept in identifier_codes(pairs, ids, tokenizer)]
    tokens = Tokens.of([[]] * len(ids), [code.tolist() for code in ids], list(FILES), identifiers=identifiers)
    return Tokenizers(tokenizer, tokenizer, "text_to_code"), tokens


def sides(example, task):
    """Source and target without what is around them."""
    source, target = example.sources[0].tolist(), example.target.tolist()
    assert source[: len(task.source.before)] == task.source.before.tolist()
    assert source[-1] == target[-1] == spm.EOS
    return source[len(task.source.before) : -1], target[:-1]


def restored(example, task):
    """The tokens that source and target tell of: each sentinel gives way to what the target says of it."""
    source, target = sides(example, task)
    parts, said = {}, []
    for token in target:
        if token in task.sentinels:
            said = parts.setdefault(token, [])
        else:
            said.append(token)
    return [piece for token in source for piece in parts.get(token, [token])]


def task_of(made, objective, **options):
    config = TaskConfig(objective, prefix="Do it: ", **options)
    return build_task(TaskSetup("config.data.tasks.t", config, DATA, made[0]))


def windows(task, tokens, seed=0):
    """Each example's window, and what is made of it in two epochs."""
    index = task.index(tokens, seed)
    assert len(index) > 20
    for record, begin, end in zip(*(part.tolist() for part in index[:3]), strict=True):
        for epoch in range(2):
            window = tokens.code(record)[begin:end].tolist()
            yield window, task.example(tokens, record, begin, end, seed, epoch)


def covers(task, tokens):
    """Whether the windows are all code, once each."""
    records, begins, ends = (part.tolist() for part in task.index(tokens, 0)[:3])
    pieces = [tokens.code(record)[begin:end] for record, begin, end in zip(records, begins, ends, strict=True)]
    whole = [tokens.code(record) for record in range(len(tokens))]
    return np.concatenate(pieces).tolist() == np.concatenate(whole).tolist()


@pytest.mark.parametrize("sentinels", [100, 3])
def test_masked_identifiers(made, sentinels):
    task = task_of(made, "masked_identifiers")
    task = replace(task, sentinels=task.sentinels[:sentinels])
    masked = 0
    for window, example in windows(task, made[1]):
        assert restored(example, task) == window
        masked += int(np.isin(example.sources[0], task.sentinels).sum())
    assert masked > 1000


@pytest.mark.parametrize("whole_words", [False, True])
def test_spans(made, whole_words):
    """And the share and mean length of what is masked, told from the examples: each count is the nearest whole one."""
    task, total, masked, spans = task_of(made, "span_corruption", whole_words=whole_words), 0, 0, 0
    assert covers(task, made[1])
    examples = list(windows(task, made[1]))
    for window, example in examples:
        assert restored(example, task) == window
        is_sentinel = np.isin(sides(example, task)[1], task.sentinels)
        noise, count = int((~is_sentinel).sum()), int(is_sentinel.sum())
        assert abs(noise - 0.15 * len(window)) <= 0.5 or noise == 1
        assert abs(count - noise / 3) <= 0.5 or count == 1
        assert count == np.isin(example.sources[0], task.sentinels).sum()
        total, masked, spans = total + len(window), masked + noise, spans + count
    assert total / len(examples) > 80  # long windows: rounding moves the share by half a token in 80 at most
    assert abs(masked / total - 0.15) < 0.5 / 80
    assert abs(masked / spans - 3) < 0.4  # of 12 tokens on average in four spans, half a span


@pytest.mark.parametrize("objective", ["causal_lm", "prefix_lm"])
def test_language_models(made, objective):
    task, pivots = task_of(made, objective), set()
    assert covers(task, made[1])
    for window, example in windows(task, made[1]):
        prefix, rest = sides(example, task)
        assert prefix + rest == window
        pivots.add(len(prefix))
    assert pivots == {0} if objective == "causal_lm" else len(pivots) > 20


def test_fill_in_the_middle(made):
    task = task_of(made, "fill_in_the_middle")
    assert covers(task, made[1])
    for window, example in windows(task, made[1]):
        source, middle = sides(example, task)
        (place,) = np.flatnonzero(np.array(source) == task.sentinel)
        assert source[:place] + middle + source[place + 1 :] == window
        assert middle


# Identifiers stand in guillemets, by hand.
MARKED = """
@«functools».«wraps»(«inner»)
@«cache»
class «Outer»(«Base», «metaclass»=«Meta»):
    «name»: «str» = 'it\\'s "name"' + f"{«name»!r} 'name' {«table»['key']:>{«width»}} {{name}}"

    async def «größe»(«self», *, «end»='\\n'):  # self
        return '''"name" 'self' ''' if «self».«end» is not None else b"end" "name"
"""


def test_tags_are_those_of_hand_marked_code(made):
    """Decorators, keywords, nested quotes, f-strings, comments, names outside ASCII; a token is tagged for any byte."""
    tokenizers, _ = made
    data, spans = b"", []
    for number, piece in enumerate(re.split("[«»]", MARKED)):
        begin, data = len(data), data + piece.encode()
        spans += [(begin, len(data))] * (number % 2)
    pairs, ids = [Pair(data.decode())], tokenizers.target.encode_batch([data.decode()])
    codes = identifier_codes(pairs, ids, tokenizers.target)
    tokens = Tokens.of([[]], [ids[0].tolist()], ["a"], identifiers=[codes[0].tolist()])
    task = replace(task_of(made, "identifier_tagging"), length=1000)
    tags = task.example(tokens, 0, 0, len(ids[0]), 0, 0).tags
    ends = np.cumsum([len(tokenizers.target.surfaces[token]) for token in ids[0]])
    expected = [
        int(any(begin < stop and start < end for start, stop in spans))
        for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    ]
    assert tags.tolist() == [-1] * len(task.source.before) + expected + [-1]
    assert 20 < sum(expected) < len(expected)
