"""What a window's source and target tell together is the window, token by token, on real code by real tokenizers."""

import sysconfig
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from t2c_jax.config import DataConfig, TaskConfig, TokenizerConfig
from t2c_jax.data import spm
from t2c_jax.data.mixture import make
from t2c_jax.data.prepare import Tokens, identifier_codes
from t2c_jax.data.tokenizer import Tokenizers

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
    tokenizer = spm.SentencePieceTokenizer(spm.train(settings, codes))
    pairs, ids = [Pair(code) for code in codes], tokenizer.encode_batch(codes)
    identifiers = [kept.tolist() for kept in identifier_codes(pairs, ids, tokenizer)]
    tokens = Tokens.of([[]] * len(ids), [code.tolist() for code in ids], list(FILES), identifiers=identifiers)
    return Tokenizers(tokenizer, tokenizer, "text_to_code"), tokens


def restored(example, task):
    """The tokens that source and target tell of: each sentinel gives way to what the target says of it."""
    source = example.sources[0][len(task.before) : -1].tolist()
    target = example.target[:-1].tolist()
    parts, said = {}, []
    for token in target:
        if token in task.sentinels:
            said = parts.setdefault(token, [])
        else:
            said.append(token)
    return [piece for token in source for piece in parts.get(token, [token])]


def windows(task, tokens, seed=0):
    """Each part's window and what is made of it in two epochs."""
    parts = task.parts(tokens, seed)
    assert len(parts) > 20
    for record, begin, end in zip(*(part.tolist() for part in parts[:3]), strict=True):
        for epoch in range(2):
            window = tokens.code(record)[begin:end].tolist()
            yield window, task.example(tokens, record, begin, end, seed, epoch)


@pytest.mark.parametrize("sentinels", [100, 3])
def test_masked_identifiers(made, sentinels):
    tokenizers, tokens = made
    task = make(TaskConfig("masked_identifiers", prefix="Name: "), "t", tokenizers, DATA, copy=False, weights=None)
    task = replace(task, sentinels=task.sentinels[:sentinels])
    masked = 0
    for window, example in windows(task, tokens):
        assert restored(example, task) == window
        masked += int(np.isin(example.sources[0], task.sentinels).sum())
    assert masked > 1000
