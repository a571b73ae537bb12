"""The tokenizer stage: trains a tokenizer or copies one, and proves that it is lossless."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2c_jax import console
from t2c_jax.config import TokenizerConfig
from t2c_jax.corpus.pairs import SPLITS
from t2c_jax.errors import UserError
from t2c_jax.tokenizers import sentencepiece as spm
from t2c_jax.tokenizers.loading import ENCODER, Tokenizers
from t2c_jax.tokenizers.lossless import SIDES, round_trips
from t2c_jax.tokenizers.training import sample_evenly, train
from t2c_jax.workdir import StageResult, Workdir, write_json

if TYPE_CHECKING:
    from t2c_jax.corpus.pairs import Pair

CHECK = "check.json"
"""The report of the round trips."""


def build_tokenizer(
    config: TokenizerConfig,
    direction: str,
    workdir: Workdir,
    pairs: Callable[[str], Iterable[Pair]],
    *,
    origin: Workdir | None = None,
    reuse: bool = True,
    own_encoder: bool = False,
    placeholders: Sequence[str] = (),
) -> StageResult:
    """The tokenizer stage: trains on the train split or copies the tokenizer of ``origin``; checks it on every split.

    Args:
      config: the tokenizer section.
      direction: which side of a pair is the source (config.data.direction).
      workdir: holds the finished corpus. Gets ``tokenizer/`` with the model and ``check.json``, and with the encoder's
        own tokenizer under ``encoder/`` where it has one.
      pairs: a split's pairs, always in the same order.
      origin: the run that this one starts from.
      reuse: copy the tokenizer of ``origin`` instead of training one.
      own_encoder: the encoder is pre-trained and reads sources with a tokenizer of its own. That one is copied from
        ``origin`` in any case, because the encoder's parameters fit no other.
      placeholders: names in the pairs that get pieces of their own where a tokenizer is trained.

    Raises:
      UserError: the corpus is missing or does not suit ``vocab_size``; or a tokenizer trained here changes a pair. Of a
        copied one, ``check.json`` and a warning say what it changes.
    """
    # The workdir of an import has the encoder's tokenizer only; that of a run that started from one has both.
    encoder_only = own_encoder and origin is not None and not (origin.tokenizer / ENCODER).is_dir()
    trains = origin is None or encoder_only or not reuse

    def build(directory: Path) -> dict[str, Any]:
        sizes = {split: sum(1 for _ in pairs(split)) for split in SPLITS}
        if origin is not None and (own_encoder or not trains):
            source = origin.tokenizer / ENCODER if trains and not encoder_only else origin.tokenizer
            place = directory / ENCODER if trains else directory
            ignored = shutil.ignore_patterns("manifest.json", CHECK)
            shutil.copytree(source, place, ignore=ignored, dirs_exist_ok=True)
        if trains:
            console.say(f"tokenizer: training {config.vocab_size:,} {config.model_type} pieces")
            texts = sample_evenly(pairs("train"), sizes["train"], config.max_sentences)
            model = train(config, texts, placeholders)
            (directory / spm.MODEL).write_bytes(model)
        tokenizers = Tokenizers.load(directory, direction)
        report = {}
        with console.progress("tokenizer: round trips", sum(sizes.values()), "pairs") as bar:
            for split in SPLITS:
                report[split] = round_trips(tokenizers, console.advancing(bar, pairs(split)))
        for side in SIDES:
            failures = [f"{split}:{id_}" for split in SPLITS for id_ in report[split][side]["failures"]]
            if failures and isinstance(getattr(tokenizers, side), spm.SentencePieceTokenizer) and trains:
                raise UserError(
                    f"the tokenizer changes {len(failures)} pairs ({', '.join(failures[:3])}, ...); please report it"
                    " with one of them"
                )
            is_target = getattr(tokenizers, side).digest == tokenizers.target.digest
            if failures and is_target:  # the source's tokenizer never decodes
                console.warn(
                    f"the tokenizer of {side}s is not lossless: {len(failures):,} of {sum(sizes.values()):,} change"
                    f" when they are encoded and decoded; '{CHECK}' lists them"
                )
        write_json(directory / CHECK, report)
        return {"vocab_size": tokenizers.target.vocab_size, "digest": tokenizers.digest, "check": report}

    inputs = {"corpus": workdir.digest("corpus")}
    read: dict[str, Any] = {"tokenizer": config}
    if placeholders:
        read["placeholders"] = list(placeholders)
    if origin is not None:
        inputs["origin"] = origin.digest("tokenizer")
        read |= {"reuse": reuse, "encoder": own_encoder, "direction": direction}
    return workdir.stage("tokenizer", read, inputs, build)
