"""What config.decode asks of a search: logits processors, and the shape that a program is compiled for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

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
from t2c_jax.decode.search import Requests, Shape, requests
from t2c_jax.decode.stop_strings import StopStrings, states_of, stop_of
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.base import Tokenizer

_TOKENS = 64  # programs are compiled for multiples of so many tokens of an answer


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


def compiled_settings(settings: DecodeConfig) -> DecodeConfig:
    """The settings that a program is compiled for; all others are arguments of it."""
    default = DecodeConfig()
    return replace(
        settings,
        max_tokens=-(-settings.max_tokens // _TOKENS) * _TOKENS,
        batch_size=default.batch_size,
        length_penalty=default.length_penalty,
        patience=default.patience,
        diversity_penalty=default.diversity_penalty,
        temperature=float(settings.temperature > 0),
        top_k=default.top_k,
        top_p=default.top_p,
        min_p=default.min_p,
        repetition_penalty=2.0 if settings.repetition_penalty != 1 else 1.0,
        no_repeat_ngram_size=min(settings.no_repeat_ngram_size, 1),
        stop=stop_of(states_of(settings.stop)),
        samples=1,
        seed=0,
        grammar="json" if settings.grammar else "",
        rerank=False,
    )


def requests_of(settings: DecodeConfig, keys: np.ndarray, grammar: int, stop_states: int | None = None) -> Requests:
    """What each row asks for.

    Args:
      settings: of all rows.
      keys: (rows, 2) uint32, the random key of each.
      grammar: the number of the grammar's session; 0 without one.
      stop_states: as of ``requests``.
    """
    return requests(
        len(keys),
        settings.max_tokens,
        length_penalty=settings.length_penalty,
        patience=settings.patience,
        diversity_penalty=settings.diversity_penalty,
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        min_p=settings.min_p,
        repetition_penalty=settings.repetition_penalty,
        no_repeat_ngram_size=settings.no_repeat_ngram_size,
        stop=settings.stop,
        stop_states=stop_states,
        keys=keys,
        grammar=grammar,
    )
