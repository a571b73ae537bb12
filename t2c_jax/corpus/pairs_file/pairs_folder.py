"""Folders of files of pairs: datasets as Hugging Face stores them, and any folder without other files."""

from __future__ import annotations

import os
import re
from pathlib import Path

from t2c_jax.corpus.pairs_file.file_formats import is_pairs_file

_MARKERS = ("dataset_dict.json", "dataset_info.json", "dataset_infos.json")
_CARD = re.compile(rb"---\r?\n(?:.*\n)*?(?:configs|dataset_info|task_categories|size_categories):")
# Names of files beside the data.
_BESIDE = re.compile(r"(?:README|LICEN[CS]E|CITATION)\b.*|.*\.(?:json|lock)|\..*|cache-.*", re.IGNORECASE)
_MOST_ENTRIES = 20_000  # of a folder that is looked through; a larger one is no dataset but a tree of sources
_CARD_BYTES = 100_000


def files_of_pairs(folder: Path) -> list[Path]:
    """The files of pairs of a folder of pairs, sorted; none if it is another directory.

    It is one if a file that Hugging Face writes says so (``dataset_dict.json``, ``dataset_info.json``, or the header of
    ``README.md``), or if it holds hardly anything but files of pairs. Links are not followed; hidden files and caches
    are left out.
    """
    found: list[Path] = []
    only_pairs = True
    entries = 0
    for directory, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            entries += 1
            path = Path(directory, name)
            if is_pairs_file(name) and not name.startswith((".", "cache-")):
                if path.is_file() and not path.is_symlink():
                    found.append(path)
            elif not _BESIDE.fullmatch(name):
                only_pairs = False
        if entries > _MOST_ENTRIES or (not only_pairs and not _is_marked(folder)):
            return []
    return found


def _is_marked(folder: Path) -> bool:
    if any((folder / name).is_file() for name in _MARKERS):
        return True
    try:
        with (folder / "README.md").open("rb") as file:
            head = file.read(_CARD_BYTES)
    except OSError:
        return False
    end = head.find(b"\n---", 3)
    return _CARD.match(head[: max(end, 0)]) is not None
