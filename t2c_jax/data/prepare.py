"""The tokens stage: every pair of every split, tokenised once, as memory-mapped ragged arrays (``tokens``).

Every pair is kept: whether one fits a row is decided when rows are planned, so that other lengths, another prefix or
another task need no new tokens. Where a task needs identifiers, an array says which tokens of code belong to which, and
of which tokens that is unknown (``tasks.identifiers.occurrence_codes``). What an encoder reads beside tokens is stored
too (``encoder_features``).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from t2c_jax import console
from t2c_jax.config import DataConfig
from t2c_jax.corpus.pairs import SPLITS
from t2c_jax.data.encoder_features import EncoderFeatures
from t2c_jax.data.placeholders import FORMAT as PLACEHOLDERS_FORMAT
from t2c_jax.data.ragged import RaggedWriter
from t2c_jax.data.tasks.identifiers import UNKNOWN, occurrence_codes
from t2c_jax.data.tasks.task import objective_of
from t2c_jax.data.tokens import IDENTIFIERS, IDENTIFIERS_FORMAT, write_stamps
from t2c_jax.languages.identifiers import aligned, spelt
from t2c_jax.languages.identifiers import identifiers as identifiers_of
from t2c_jax.tokenizers.base import Tokenizer
from t2c_jax.tokenizers.loading import Tokenizers
from t2c_jax.tokenizers.lossless import in_batches
from t2c_jax.workdir import StageResult, Workdir, digest

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

_MAX_NAMES = 2**15 - 1  # that a uint16 has room for beside UNKNOWN; further ones of a module are UNKNOWN


def build_tokens(
    data: DataConfig,
    workdir: Workdir,
    pairs: Callable[[str], Iterable[Pair]],
    features: EncoderFeatures | None = None,
) -> StageResult:
    """The tokens stage. Corpus, tokenizers, and what the encoder and the tasks read beside tokens decide its result.

    Args:
      data: direction, tasks, and whether ``pairs`` have names for what their texts quote.
      workdir: holds the finished corpus and tokenizer; gets ``tokens/``.
      pairs: a split's pairs, always in the same order.
      features: what the encoder reads; by default tokens alone.

    Raises:
      UserError: the corpus or the tokenizer is missing.
    """
    tokenizers = Tokenizers.load(workdir.tokenizer, data.direction)
    identifiers = any(objective_of(task).needs_identifiers for task in data.tasks.values())

    def build(directory: Path) -> dict[str, Any]:
        splits = {}
        with console.progress("tokens", None, "pairs") as bar:
            for split in SPLITS:
                read = console.advancing(bar, pairs(split))
                splits[split] = write_split(directory / split, tokenizers, read, features, identifiers=identifiers)
        files = [str(path.relative_to(directory)) for path in sorted(directory.rglob("*.npy"))]
        write_stamps(directory, files)
        return {"splits": splits, "files": {name: digest(directory / name) for name in files}}

    read: dict[str, Any] = {}
    if features is not None and features.stored_settings:
        read["features"] = dict(features.stored_settings)
    if identifiers:
        read[IDENTIFIERS] = IDENTIFIERS_FORMAT
    if data.placeholders:
        read["placeholders"] = PLACEHOLDERS_FORMAT
    inputs = {"corpus": workdir.digest("corpus"), "tokenizer": tokenizers.digest}
    result = workdir.stage("tokens", read, inputs, build)
    if identifiers:
        _warn_of_unknown_identifiers(result.manifest["counts"]["splits"].values())
    return result


def _warn_of_unknown_identifiers(splits: Iterable[dict[str, Any]]) -> None:
    unknown, partly = Counter[str](), Counter[str]()
    for counts in splits:
        unknown.update(counts["unknown_identifiers"])
        partly.update(counts["partly_unknown_identifiers"])
    skipped = [f"{what} {_by_language(counts)}" for what, counts in (("", unknown), ("parts of", partly)) if counts]
    if skipped:
        console.warn(
            f"identifier tasks skip {' and '.join(skipped).strip()}: no Pygments lexer for the language, a syntax"
            " error, or a tokenizer that is not lossless"
        )


def _by_language(counts: Counter[str]) -> str:
    named = ", ".join(f"{language or 'no language'} {count:,}" for language, count in counts.most_common())
    return f"{counts.total():,} pairs ({named})"


def write_split(
    directory: Path,
    tokenizers: Tokenizers,
    pairs: Iterable[Pair],
    features: EncoderFeatures | None = None,
    *,
    identifiers: bool = False,
) -> dict[str, Any]:
    """Writes one split's arrays; returns its counts of pairs, of tokens on both sides, and of the encoder's features.

    With ``identifiers``, ``unknown_identifiers`` and ``partly_unknown_identifiers`` count by language the pairs in
    whose code no identifier is known, or not all.
    """
    directory.mkdir()
    text, code = tokenizers.text, tokenizers.code
    token = np.uint16 if max(text.vocab_size, code.vocab_size) <= 2**16 else np.uint32
    types = {"text": token, "code": token, "id": np.uint8}
    types |= {} if features is None else features.column_types(code)
    if identifiers:
        types[IDENTIFIERS] = np.uint16
    counts: dict[str, Any] = {"pairs": 0, "text_tokens": 0, "code_tokens": 0}
    stored, unknown, partly = Counter[str](), Counter[str](), Counter[str]()
    with contextlib.ExitStack() as files:
        columns = {name: files.enter_context(RaggedWriter(directory, name, kind)) for name, kind in types.items()}
        for batch in in_batches(pairs):
            texts = text.encode_batch([pair.text for pair in batch])
            codes = code.encode_batch([pair.code for pair in batch])
            columns["text"].extend(texts)
            columns["code"].extend(codes)
            columns["id"].extend(np.frombuffer(pair.id.encode("utf-8"), np.uint8) for pair in batch)
            counts["pairs"] += len(batch)
            counts["text_tokens"] += sum(map(len, texts))
            counts["code_tokens"] += sum(map(len, codes))
            if features is not None:
                items, numbers = features.encode([pair.code for pair in batch], code)
                stored.update(numbers)
                for name, arrays in items.items():
                    columns[name].extend(arrays)
            if identifiers:
                found = identifier_codes(batch, codes, code)
                columns[IDENTIFIERS].extend(found)
                for pair, is_unknown in zip(batch, (codes == UNKNOWN for codes in found), strict=True):
                    unknown[pair.language] += len(is_unknown) > 0 and bool(is_unknown.all())
                    partly[pair.language] += bool(is_unknown.any() and not is_unknown.all())
    if identifiers:
        counts |= {"unknown_identifiers": dict(+unknown), "partly_unknown_identifiers": dict(+partly)}
    return {**counts, **stored}


def identifier_codes(pairs: Sequence[Pair], codes: Sequence[np.ndarray], tokenizer: Tokenizer) -> list[np.ndarray]:
    """``occurrence_codes`` of each pair's code; unknown without a lexer, or where tokens are not the code's bytes."""
    sizes = np.array([len(surface) for surface in tokenizer.surfaces])
    made = []
    for pair, ids in zip(pairs, codes, strict=True):
        found = identifiers_of(pair.code, pair.language)
        kept = occurrence_codes(*spelt(aligned(pair.code, found, sizes[ids].tolist()), ids))
        made.append(np.where(kept <= 2 * _MAX_NAMES, kept, UNKNOWN))
    return made
