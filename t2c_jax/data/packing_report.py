"""How well a config's row lengths suit a corpus, and which would suit it better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from t2c_jax import console
from t2c_jax.config import DataConfig
from t2c_jax.data.packing import plan
from t2c_jax.data.permutation import permutation
from t2c_jax.data.pipeline import Stream
from t2c_jax.data.tasks.translation import Translation
from t2c_jax.data.tokens import Tokens

_SAMPLE = 20_000  # pairs planned for each candidate, where there are more
_MULTIPLE = 16  # of tokens: what candidates are rounded to, for the accelerators' tiles


@dataclass(frozen=True)
class Fit:
    """One encoder length at the config's decoder length.

    Attributes:
      encoder_length: S.
      real_token_share: share of the S + T positions that hold a token.
      dropped_share: share of the pairs that are longer than a row on either side.
    """

    encoder_length: int
    real_token_share: float
    dropped_share: float


def fits(tokens: Tokens, data: DataConfig, task: Translation, seed: int = 0) -> list[Fit]:
    """The config's own encoder length first, then others by how they pack.

    Rows fill up on both sides when S : T is the ratio of the tokens on both sides; the candidates lie around it.
    Where there are many pairs a sample of them is planned; else the figures are those of a run with this seed.
    """
    index = task.index(tokens, seed)
    sample = np.sort(permutation(len(index), seed)[:_SAMPLE])
    source, target = index.source_N[sample], index.target_N[sample]
    fitting = target <= data.decoder_length
    ideal = data.decoder_length * source[fitting].sum() / max(target[fitting].sum(), 1)
    candidates = {max(round(ideal * share / _MULTIPLE), 1) * _MULTIPLE for share in (0.7, 0.8, 0.9, 1.0, 1.1)}

    def fit(encoder_length: int) -> Fit:
        pool = data.packing_pool if data.pack else 0
        made = plan(source, target, encoder_length, data.decoder_length, pool, seed)
        return Fit(encoder_length, made.real_token_share, made.dropped / max(len(sample), 1))

    others = [fit(length) for length in sorted(candidates - {data.encoder_length})]
    return [fit(data.encoder_length), *sorted(others, key=lambda fit: -fit.real_token_share)]


def show_fits(tokens: Tokens, data: DataConfig, task: Translation, seed: int = 0) -> list[Fit]:
    """``fits``, as a table for people; warns where another encoder length would pack clearly tighter."""
    found = fits(tokens, data, task, seed)
    index = task.index(tokens, seed)
    ratio = float(index.source_N.sum() / max(index.target_N.sum(), 1))
    console.table(
        f"Packing at decoder_length={data.decoder_length} ({ratio:.2f} source tokens a target token)",
        ("encoder_length", "real tokens", "pairs dropped"),
        [
            (
                f"{fit.encoder_length}{' (config)' if fit is found[0] else ''}",
                f"{fit.real_token_share:.1%}",
                f"{fit.dropped_share:.1%}",
            )
            for fit in found
        ],
    )
    if len(found) > 1 and found[1].real_token_share > found[0].real_token_share + 0.02:
        console.warn(
            f"config.data.encoder_length={found[1].encoder_length} would fill the rows to"
            f" {found[1].real_token_share:.1%} instead of {found[0].real_token_share:.1%}"
        )
    return found


def show_features(stream: Stream, statistics: Sequence[tuple[str, str]]) -> list[Fit]:
    """How the rows of an encoder that reads other features than tokens are filled, as a table for people.

    Args:
      stream: of the train split.
      statistics: lines about the features (``EncoderFeatures.statistics``).
    """
    plan, size = stream.plan, len(stream.index)
    console.table(
        f"Rows at config.{stream.source.key}={stream.source.length}",
        ("", "value"),
        [
            *statistics,
            ("pairs dropped in all", f"{plan.dropped:,} of {size:,}"),
            ("share of positions in use", f"{plan.real_token_share:.1%}"),
        ],
    )
    return [Fit(stream.source.length, plan.real_token_share, plan.dropped / max(size, 1))]


def show_tasks(streams: Mapping[str, Stream], shares: Sequence[float]) -> list[Fit]:
    """How a mixture's tasks fill their rows, and each task's share of the rows, as a table for people."""
    fits = [
        Fit(stream.source.length, stream.plan.real_token_share, stream.plan.dropped / max(len(stream.index), 1))
        for stream in streams.values()
    ]
    rows = [
        (
            name,
            f"{share:.1%}",
            f"{len(stream.index):,}",
            f"{len(stream.plan.rows):,}",
            f"{fit.real_token_share:.1%}",
            f"{fit.dropped_share:.1%}",
        )
        for (name, stream), share, fit in zip(streams.items(), shares, fits, strict=True)
    ]
    console.table("Tasks", ("task", "rows", "examples", "rows an epoch", "real tokens", "dropped"), rows)
    return fits
