"""Trains a SentencePiece model on a corpus."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import sentencepiece

from t2c_jax.config import TokenizerConfig
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.base import EOS, PAD, UNK
from t2c_jax.tokenizers.sentencepiece import SPACE, WHITESPACE

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

_UNTRAINABLE = re.compile("[\0\u2581\u2585]")
"""SentencePiece's trainer skips a whole text that contains one of these."""


def sample_evenly(pairs: Iterable[Pair], size: int, limit: int) -> Iterator[str]:
    """Text, if any, and code of evenly spaced pairs; at most ``limit`` strings out of ``size`` pairs."""
    kept = min(size, max(limit // 2, 1))
    for index, pair in enumerate(pairs):
        if index * kept // size != (index + 1) * kept // size:
            yield from filter(None, (pair.text, pair.code))


def train(config: TokenizerConfig, texts: Iterable[str], pieces: Sequence[str] = ()) -> bytes:
    """A serialised SentencePiece model, the same bytes for the same config and texts.

    The vocabulary has exactly ``config.vocab_size`` pieces: the model's shapes follow from the config alone. ``pieces``
    are among them.

    Raises:
      UserError: the texts are too few for so large a vocabulary, or their characters too many for so small a one.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(_UNTRAINABLE.sub("\n", text) for text in texts),
            model_writer=model,
            model_type=config.model_type,
            vocab_size=config.vocab_size,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            byte_fallback=True,
            pad_id=PAD,
            eos_id=EOS,
            unk_id=UNK,
            bos_id=-1,
            control_symbols=[f"<extra_id_{k}>" for k in range(config.sentinels)],
            user_defined_symbols=[*WHITESPACE, *([SPACE] if config.split_spaces else []), *pieces],
            max_sentence_length=2**30,  # bytes; the default leaves out whatever is longer than 4192
            input_sentence_size=0,
            num_threads=8,  # unigram's sums depend on the number of threads, so it is not the machine's
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explained(config, error) from None
    return model.getvalue()


def _explained(config: TokenizerConfig, error: RuntimeError) -> Exception:
    message = str(error)
    size = f"config.tokenizer.vocab_size={config.vocab_size}"
    if found := re.search(r"size too high .* value <= (\d+)", message):
        return UserError(f"{size} is more than the corpus can fill; set it to {found[1]} at most, or add sources")
    if found := re.search(r"smaller than required_chars. \d+ vs (\d+)", message):
        return UserError(f"{size} has no room for the corpus's characters; set it to {found[1]} at least")
    if "sentences_.empty()" in message:
        return UserError("the train split has no text to train a tokenizer on; add sources or relax config.corpus")
    return error
