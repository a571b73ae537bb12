"""What config.decode asks of a search: logits processors, and the shape that a program is compiled for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from t2c_jax.config import DecodeConfig
from t2c_jax.decode.grammar.spelling import Spelling
from t2c_jax.decode.logits_processors import (
    ForbiddenTokens,
    LogitsProcessor,
    NoRepeatNgram,
    RepetitionPenalty,
    TokenBonus,
    unwritable,
)
from t2c_jax.decode.search import Shape
from t2c_jax.decode.stop_strings import StopStrings
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.base import Tokenizer


def processors_of(
    decode: DecodeConfig, tokenizer: Tokenizer, inverse_frequency: Callable[[], np.ndarray] | None = None
) -> list[LogitsProcessor]:
    """The processors that config.decode asks for, in their order.

    Args:
      decode: the settings of a search.
      tokenizer: decodes answers.
      inverse_frequency: gives ``log(N / n)`` of each token. It is called only where ``idf_weight`` is not 0.

    Raises:
      UserError: ``idf_weight`` is set and the frequencies of the training tokens are not known, or ``stop`` is set and
        what a token writes is not known.
    """
    processors: list[LogitsProcessor] = []
    forbidden = unwritable(tokenizer, special_pieces=decode.special_pieces)
    if decode.idf_weight:
        if inverse_frequency is None:
            raise UserError("config.decode.idf_weight needs the tokens of the run's training pairs; set it to 0")
        processors.append(TokenBonus(decode.idf_weight * inverse_frequency()))
    if forbidden:
        processors.append(ForbiddenTokens(forbidden))
    if decode.repetition_penalty != 1:
        processors.append(RepetitionPenalty())
    if decode.no_repeat_ngram_size:
        processors.append(NoRepeatNgram())
    if decode.stop:
        spelling = Spelling.of(tokenizer, special_pieces=decode.special_pieces, setting="config.decode.stop")
        processors.append(StopStrings(spelling, tokenizer.eos))
    return processors


def shape_of(decode: DecodeConfig, start: int, eos: int, drafts: int = 0) -> Shape:
    """The shape of a search.

    Args:
      decode: its settings.
      start, eos: the tokens that a sequence begins and ends with.
      drafts: tokens that are guessed and verified in one step.
    """
    return Shape(
        decode.max_tokens,
        decode.beam_size,
        decode.beam_groups,
        sampling=decode.temperature > 0,
        drafts=drafts,
        start=start,
        eos=eos,
    )
