"""The texts and the code of corpora, to see which pieces of a vocabulary they need."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.build import build_corpus
from t2c_jax.corpus.dataset import read_pairs
from t2c_jax.corpus.pairs import SPLITS
from t2c_jax.workdir import MANIFEST, Workdir


def corpus_texts(names: Sequence[str]) -> Iterator[str]:
    """Both sides of every pair.

    Args:
      names: workdirs with a finished corpus, and sources as ``config.corpus.sources`` has them, which are mined here.

    Raises:
      UserError: one of them is neither, or gives no pairs.
    """
    finished = [name for name in names if (Path(name) / "corpus" / MANIFEST).is_file()]
    for name in finished:
        yield from _sides(Workdir(Path(name)))
    if sources := tuple(name for name in names if name not in finished):
        with tempfile.TemporaryDirectory() as directory:
            workdir = Workdir(Path(directory) / "run")
            build_corpus(CorpusConfig(sources=sources), workdir)
            yield from _sides(workdir)


def _sides(workdir: Workdir) -> Iterator[str]:
    for split in SPLITS:
        for pair in read_pairs(workdir, split):
            yield pair.text
            yield pair.code
