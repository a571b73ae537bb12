"""Which split the name of a file, of a directory or of a line's split means."""

from __future__ import annotations

import re
from collections.abc import Iterable

from t2c_jax.corpus.sources import PairsFile

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "devel", "development", "validation", "valid", "val"), "dev"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_WORD = re.compile(r"[^\W\d_]+")  # everything else separates


def split_of(name: str) -> str:
    """The split that a name means, in any case: ``train``, ``dev`` or ``test``; empty if it means none."""
    return SPLIT_NAMES.get(name.strip().lower(), "")


def splits_of_files(files: Iterable[PairsFile]) -> dict[str, str]:
    """For each file's name the split of its lines that name none; empty if their splits are random.

    A word of the file's name decides, or of a folder's name in a folder of pairs. Pairs of a training file get random
    splits, so that some are held out, unless other files are the dev and the test split.
    """
    found = {}
    for file in files:
        *folders, name = file.place.split("/")
        found[file.name] = split_of_name(name) or next(filter(None, map(split_of_name, folders[::-1])), "")
    if not {"dev", "test"} <= set(found.values()):
        found = {name: "" if split == "train" else split for name, split in found.items()}
    return found


def split_of_name(name: str) -> str:
    """The split that a word of the name means; empty if none does, or two disagree."""
    splits = {split_of(word) for word in _WORD.findall(name)} - {""}
    return splits.pop() if len(splits) == 1 else ""
