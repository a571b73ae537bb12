"""What a run trains on: the tasks of its config, each over its tokens, in the shares that the config states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from t2c_jax.config import DataConfig, TaskConfig
from t2c_jax.data.tasks import objectives
from t2c_jax.data.tasks.code_tasks import (
    Contrast,
    FillInTheMiddle,
    IdentifierTagging,
    LanguageModel,
    MaskedIdentifiers,
    SpanCorruption,
)
from t2c_jax.data.tasks.task import Task, Translate, frame
from t2c_jax.errors import UserError
from t2c_jax.tokenizers.loading import Tokenizers

_CYCLE = 1000  # rows after which the schedule of tasks begins again: shares are met to a thousandth


@dataclass(frozen=True)
class Schedule:
    """Which task each row of a run belongs to, and the how manieth of that task it is: a function of its number.

    Rows take turns in a cycle of a fixed length, spread as evenly as their shares allow, so every batch holds nearly
    the same number of each, and where a run goes on is found by one division.

    Attributes:
      cycle_R: the task of each row of a cycle.
    """

    cycle_R: np.ndarray

    @classmethod
    def of(cls, weights: np.ndarray) -> Schedule:
        """Shares in proportion to ``weights``, to a thousandth; none above 0 is left out, and 0 has no row.

        With weights 2 and 1 the cycle begins 0 1 0 0 1 0.
        """
        if len(weights) == 1:
            return cls(np.zeros(1, np.int64))
        shares = weights / weights.sum()
        counts = np.maximum(np.floor(shares * _CYCLE), shares > 0)
        behind = np.argsort(-(shares * _CYCLE - counts), kind="stable")
        for task in behind[: max(int(_CYCLE - counts.sum()), 0)]:
            counts[task] += 1
        # A task's k-th row of n stands at (k + 1/2) / n of the cycle: no two tasks get in each other's way.
        places = np.concatenate([(np.arange(n) + 0.5) / n for n in counts])
        tasks = np.repeat(np.arange(len(counts)), counts.astype(np.int64))
        return cls(tasks[np.argsort(places, kind="stable")])

    def turns(self, rows_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The task of each row, and its number within the task, both from 0."""
        size, tasks = len(self.cycle_R), int(self.cycle_R.max()) + 1
        cycles_N, places_N = rows_N // size, rows_N % size
        tasks_N = self.cycle_R[places_N]
        is_task_RK = self.cycle_R[:, None] == np.arange(tasks)
        before_RK = np.cumsum(is_task_RK, axis=0) - is_task_RK
        return tasks_N, cycles_N * is_task_RK.sum(0)[tasks_N] + before_RK[places_N, tasks_N]


def shares(weights: np.ndarray, sizes: np.ndarray, temperature: float) -> np.ndarray:
    """A mixture's shares, which add up to 1: weights, times sizes to the power 1 / T (Raffel et al. 2020, section
    3.5.2; Arivazhagan et al. 2019); a temperature of 0 leaves the sizes out.

    With sizes 4 and 1, weights 1 and 1 and T = 2: 2/3 and 1/3.
    """
    mixed = weights * (sizes ** (1 / temperature) if temperature else 1.0)
    return mixed / mixed.sum()


def make(
    config: TaskConfig, name: str, tokenizers: Tokenizers, data: DataConfig, *, copy: bool, weights: np.ndarray | None
) -> Task:
    """One of config.data.tasks.

    Raises:
      UserError: the tokenizer has no sentinels for it, or the rows no room.
    """
    around = frame(tokenizers, config.prefix, copy, weights)
    plain = Translate(**around)
    where = f"config.data.tasks.{name}"
    room = data.encoder_length - plain.around_source, data.decoder_length - plain.around_target
    if min(room) < 4:
        raise UserError(f"{where}: config.data.encoder_length and decoder_length leave no room for code")
    if config.objective in ("text_to_code", "code_to_text"):
        return Translate(**around, to_text=config.objective == "code_to_text", reverse=data.reverse_source)
    if config.objective == "contrastive":
        length = data.encoder_length // data.pairs_in_row
        if length - 2 * plain.around_source < 8:
            raise UserError(
                f"{where}: config.data.encoder_length={data.encoder_length} has no room for pairs_in_row="
                f"{data.pairs_in_row} pairs; set it to a smaller number"
            )
        return Contrast(**around, most_in_row=data.pairs_in_row, length=length)
    if config.objective == "identifier_tagging":
        return IdentifierTagging(**around, length=room[0])
    if config.objective == "causal_lm":
        return LanguageModel(**around, length=room[1])
    if config.objective == "prefix_lm":
        return LanguageModel(**around, length=min(room), least=0.1, most=0.9)  # Wang et al. 2023, section 3.1
    sentinels = tuple(tokenizers.target.sentinels)
    if not sentinels:
        raise UserError(f"{where}: the tokenizer has no sentinels; set config.tokenizer.sentinels=100")
    if config.objective == "fill_in_the_middle":
        return FillInTheMiddle(**around, sentinel=sentinels[0], length=min(room[0] - 1, room[1]))
    if config.objective == "masked_identifiers":
        return MaskedIdentifiers(**around, sentinels=sentinels, length=room[0], room=room[1])
    lengths_N = np.arange(2, 2 * sum(room))
    noise_N, spans_N = objectives.noise_counts(lengths_N, config.noise_density, config.mean_span)
    fits_N = (lengths_N - noise_N + spans_N <= room[0]) & (noise_N + spans_N <= room[1]) & (spans_N <= len(sentinels))
    length = int(lengths_N[np.argmin(np.append(fits_N, False))]) - 1
    begins, ends = _words(tokenizers) if config.whole_words else (None, None)
    return SpanCorruption(
        **around,
        sentinels=sentinels,
        density=config.noise_density,
        mean_span=config.mean_span,
        length=length,
        begins_word=begins,
        ends_word=ends,
    )


def _words(tokenizers: Tokenizers) -> tuple[np.ndarray, np.ndarray]:
    """For each id whether its first and its last byte may lie inside a word: letters, digits, _ and all but ASCII."""
    inside = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") | frozenset(range(128, 256))
    surfaces = tokenizers.target.surfaces
    return tuple(np.array([bool(s) and s[place] in inside for s in surfaces]) for place in (0, -1))  # type: ignore[return-value]
