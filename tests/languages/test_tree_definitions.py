"""Definitions of the languages that tree-sitter reads, against hand-made truth.

``truth/LANGUAGE/`` has small files, and beside each ``FILE`` a ``FILE.truth``: a line for every pair and for every
counted candidate, as ``report`` writes them.
"""

from pathlib import Path

import pytest

from t2c_jax.config import CorpusConfig
from t2c_jax.languages.extractor import extractor_for, extractors

TRUTH = Path(__file__).parent / "truth"
FILES = sorted(path.relative_to(TRUTH) for path in TRUTH.rglob("*.truth"))
LANGUAGES = [name for name in extractors if name not in ("python", "markdown")]


def extract(data, path, **config):
    extractor = extractor_for(path, LANGUAGES)
    assert extractor is not None, path
    data = data if isinstance(data, bytes) else data.encode()
    return extractor.extract(data, path, CorpusConfig(**{"text": "signature+summary", **config}))


def report(found):
    """Lines and kind, signature, summary on one line; reasons of what is skipped."""
    lines = []
    for pair in found.extracts:
        signature, _, summary = pair.text.partition("\n")
        summary = " ".join(summary.split())
        lines.append((pair.start_line, f"{pair.start_line}-{pair.end_line} {pair.kind} | {signature} | {summary}"))
    lines += [(line, f"{line} skipped | {reason}") for reason, line in found.skipped]
    return [line for _, line in sorted(lines, key=lambda item: item[0])]


@pytest.mark.parametrize("path", FILES, ids=str)
def test_truth(path):
    source = (TRUTH / path).with_suffix("")
    expected = [line for line in (TRUTH / path).read_text("utf-8").splitlines() if line]
    assert report(extract(source.read_bytes(), source.name)) == expected
