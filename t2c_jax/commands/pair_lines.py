"""Shows a pair, the lines of its source, and whether these still give it."""

from __future__ import annotations

from typing import Any

from t2c_jax import console
from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.pair_origin import PairOrigin, find_origin, find_pair
from t2c_jax.workdir import Workdir


def show_pair(pair_id: str, config: CorpusConfig, workdir: Workdir) -> dict[str, Any]:
    """Prints where a pair of the workdir's corpus is from.

    Args:
      pair_id: of the pair.
      config: that the corpus was made with.
      workdir: with the corpus.

    Returns:
      ``pair``, ``file``, ``lines``, ``equal`` and ``note`` of its ``PairOrigin``.

    Raises:
      UserError: there is no such pair, or a source of the config is missing or damaged.
    """
    origin = find_origin(find_pair(workdir, pair_id), config, workdir.path)
    _show(origin)
    return origin.to_dict()


def _show(origin: PairOrigin) -> None:
    pair = origin.pair
    source = pair.source
    about = [pair.kind, pair.language, pair.split, source.licence]
    console.rule(f"{pair.id}: {', '.join(filter(None, about))}")
    console.say(f"{pair.text}\n\n{pair.code}\n")
    at = f" at {source.commit}" if source.commit else ""
    console.rule(f"{source.repository}/{source.path}, lines {source.start_line} to {source.end_line}{at}")
    for number, line in enumerate(origin.lines, start=source.start_line):
        console.say(f"{number:>6}  {line}" if source.end_line > source.start_line else line)
    if origin.equal:
        console.say(f"{origin.file} gives this text and this code, byte for byte")
    if origin.note:
        console.warn(origin.note)
