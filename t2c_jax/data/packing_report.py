"""How well a config's row lengths suit a corpus, and which would suit it better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from t2c_jax import console
from t2c_jax.config import DataConfig
from t2c_jax.data.encoder_features import PathSource
from t2c_jax.data.packing import plan
from t2c_jax.data.permutation import permutation
from t2c_jax.data.pipeline import Stream
from t2c_jax.data.prepare import Tokens
from t2c_jax.data.tasks.task import Translate
from t2c_jax.papers.code2seq.config import PathsConfig

_SAMPLE = 20_000  # pairs planned for each candidate, where there are more
_MULTIPLE = 16  # of tokens: what candidates are rounded to, for the accelerators' tiles


@dataclass(frozen=True)
class Fit:
    """One encoder length at the config's decoder length.

    Attributes:
      encoder_length: S, or the paths in a row.
      real_token_share: share of the S + T positions that hold a token.
      left_out_share: share of the pairs that are longer than a row on either side.
    """

    encoder_length: int
    real_token_share: float
    left_out_share: float


def fits(tokens: Tokens, data: DataConfig, task: Translate, seed: int = 0) -> list[Fit]:
    """The config's own encoder length first, then others by how they pack.

    Rows fill up on both sides when S : T is the ratio of the tokens on both sides; the candidates lie around it.
    Where there are many pairs a sample of them is planned; else the figures are those of a run with this seed.
    """
    parts = task.parts(tokens, seed)
    sample = np.sort(permutation(len(parts), seed)[:_SAMPLE])
    source, target = parts.source_N[sample], parts.target_N[sample]
    fitting = target <= data.decoder_length
    ideal = data.decoder_length * source[fitting].sum() / max(target[fitting].sum(), 1)
    candidates = {max(round(ideal * share / _MULTIPLE), 1) * _MULTIPLE for share in (0.7, 0.8, 0.9, 1.0, 1.1)}

    def fit(encoder_length: int) -> Fit:
        pool = data.packing_pool if data.pack else 0
        made = plan(source, target, encoder_length, data.decoder_length, pool, seed)
        return Fit(encoder_length, made.real_token_share, made.left_out / max(len(sample), 1))

    others = [fit(length) for length in sorted(candidates - {data.encoder_length})]
    return [fit(data.encoder_length), *sorted(others, key=lambda fit: -fit.real_token_share)]


def show_fits(tokens: Tokens, data: DataConfig, task: Translate, seed: int = 0) -> list[Fit]:
    """``fits``, as a table for people; warns where another encoder length would pack clearly tighter."""
    found = fits(tokens, data, task, seed)
    _, _, _, source, target = task.parts(tokens, seed)
    ratio = float(np.sum(source) / max(np.sum(target), 1))
    console.table(
        f"Packing at decoder_length={data.decoder_length} ({ratio:.2f} source tokens a target token)",
        ("encoder_length", "real tokens", "pairs left out"),
        [
            (
                f"{fit.encoder_length}{' (config)' if fit is found[0] else ''}",
                f"{fit.real_token_share:.1%}",
                f"{fit.left_out_share:.1%}",
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


def show_paths(tokens: Tokens, data: DataConfig, paths: PathsConfig, task: Translate, seed: int = 0) -> list[Fit]:
    """How a paths encoder's rows are filled, as a table for people: one ``Fit``, of ``paths.sampled`` paths."""
    assert tokens.paths is not None
    source = PathSource(tokens.paths, paths)
    parts = task.parts(tokens, seed)
    lengths = source.lengths(parts.records_N, parts.source_N)
    made = plan(lengths, parts.target_N, source.length, data.decoder_length, 0, seed)
    counts = tokens.paths.counts
    console.table(
        f"Paths at paths.sampled={source.length}, stored={paths.stored}",
        ("", "value"),
        [
            ("paths of a pair, mean", f"{counts.mean():,.1f}" if len(counts) else "-"),
            ("pairs with more than are sampled", f"{(counts > source.length).sum():,}"),
            ("pairs without a path, left out", f"{(counts == 0).sum():,}"),
            ("pairs left out in all", f"{made.left_out:,} of {len(counts):,}"),
            ("real paths and tokens", f"{made.real_token_share:.1%}"),
        ],
    )
    return [Fit(source.length, made.real_token_share, made.left_out / max(len(counts), 1))]


def show_tasks(streams: Mapping[str, Stream], shares: Sequence[float]) -> list[Fit]:
    """How a mixture's tasks fill their rows, and whose rows come how often, as a table for people."""
    fits = [
        Fit(stream.source.length, stream.plan.real_token_share, stream.plan.left_out / max(len(stream.parts), 1))
        for stream in streams.values()
    ]
    rows = [
        (
            name,
            f"{share:.1%}",
            f"{len(stream.parts):,}",
            f"{len(stream.plan.rows):,}",
            f"{fit.real_token_share:.1%}",
            f"{fit.left_out_share:.1%}",
        )
        for (name, stream), share, fit in zip(streams.items(), shares, fits, strict=True)
    ]
    console.table("Tasks", ("task", "rows", "examples", "rows an epoch", "real tokens", "left out"), rows)
    return fits
