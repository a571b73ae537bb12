"""A model of the local Hugging Face cache by its name. Nothing is fetched.

The cache holds a folder ``models--ORG--NAME`` for each model: ``refs/REVISION`` is a file with a commit, and
``snapshots/COMMIT`` is the model's directory, its files most often links into ``blobs``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from t2c_jax.errors import UserError, nearest

_NAME = re.compile(r"(?P<name>[\w.-]+(/[\w.-]+)?)(@(?P<revision>[\w./-]+))?", re.ASCII)
_FOLDER = "models--"


def model_directory(source: str, environment: Mapping[str, str] = os.environ) -> Path:
    """The directory of a model.

    Args:
      source: a directory, or a name in the cache: ``google/flan-t5-small`` or, of a certain revision (a branch, a tag
        or a commit), ``google/flan-t5-small@REVISION``.
      environment: says where the cache lies, by the variables that ``huggingface_hub`` reads.

    Raises:
      UserError: there is neither such a directory nor such a model in the cache.
    """
    path = Path(source)
    match = _NAME.fullmatch(source)
    if path.exists() or match is None or ".." in source:
        if not path.is_dir():
            raise UserError(f"'{source}' is no directory; --from wants a model directory or a name in the local cache")
        return path
    cache, name, revision = cache_directory(environment), match["name"], match["revision"]
    folder = cache / (_FOLDER + name.replace("/", "--"))
    if not folder.is_dir():
        known = [found.name.removeprefix(_FOLDER).replace("--", "/") for found in cache.glob(f"{_FOLDER}*")]
        hint = nearest(name, known) or f"; it holds {len(known)} models"
        raise UserError(
            f"'{source}' is neither a directory nor a model of the local Hugging Face cache '{cache}'{hint}. Nothing is"
            f" fetched: download it with 'hf download {name}', or set HF_HOME"
        )
    return _snapshot(folder, source, revision)


def cache_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Where ``huggingface_hub`` keeps what it has downloaded."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if environment.get(variable):
            return Path(environment[variable]).expanduser()
    base = Path(environment.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface"
    return Path(environment.get("HF_HOME") or base).expanduser() / "hub"


def _snapshot(folder: Path, source: str, revision: str | None) -> Path:
    """The directory of one revision, ``main`` by default, or of the only one that there is."""
    snapshots = sorted(path.name for path in (folder / "snapshots").glob("*") if path.is_dir())
    if not snapshots:
        raise UserError(f"'{folder}' holds no snapshot; the download did not come to its end: start it again")
    ref = folder / "refs" / (revision or "main")
    try:
        commit = ref.read_text("utf-8").strip()
    except (OSError, ValueError):
        commit = revision or (snapshots[0] if len(snapshots) == 1 else "")
    if commit in snapshots:
        return folder / "snapshots" / commit
    listed = ", ".join(snapshots[:5]) + (" ..." if len(snapshots) > 5 else "")
    if revision is None and not commit:
        raise UserError(f"'{source}' has several snapshots in '{folder}' and no 'main'; name one: NAME@{listed}")
    raise UserError(f"'{source}': '{folder}' has no snapshot of {revision or 'main'}; it has {listed}")
