"""Reads the pairs of a file or a TFDS dataset.

A line of a ``.jsonl`` or ``.jsonl.gz`` is a JSON object with ``text`` and ``code``, and optionally ``id`` (string or
integer), ``split`` or ``partition`` (a name as ``split_of`` knows it), ``language`` (by any common name), and
``group`` (pairs of one group stay in one split; without it a pair is grouped by its id), and how an answer is run
(``execution_fields``). Other keys are ignored, and so are blank lines. With config.corpus.code_only, ``text`` may be
empty, null or missing: the line is code to pre-train on.

Where a line names no split (or an empty or null one), the file's name may: a word between separators, such as
``python_valid_0.jsonl`` or ``test-00000-of-00001.jsonl``. A file of training pairs leaves the split open, so that the
shares of the config can hold some of them out.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any, cast

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.execution_fields import execution_of
from t2c_jax.corpus.pairs import FILE_KIND, Candidate, Pair, Source, origin_id
from t2c_jax.corpus.sets.catalog import is_public_set
from t2c_jax.corpus.source_report import SourceReport
from t2c_jax.corpus.sources import PairsDataset, PairsFile
from t2c_jax.corpus.tfds_source import read_examples
from t2c_jax.errors import UserError, nearest
from t2c_jax.languages.aliases import canonical

_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "devel", "development", "validation", "valid", "val"), "dev"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_WORD = re.compile(r"[^\W\d_]+")  # everything else separates
_LINE_BYTES = 16_000_000  # a longer line is no pair that any limit would keep, and must not fill the memory


class Malformed(ValueError):
    """Why a line is not a pair."""


def split_of(name: str) -> str:
    """The split that a name means, in any case: ``train``, ``dev`` or ``test``; empty if it means none."""
    return _SPLIT_NAMES.get(name.strip().lower(), "")


def splits_of_files(files: Iterable[PairsFile]) -> dict[str, str]:
    """For each file's name the split of its lines that name none; empty if their splits are random.

    A word of the file's name decides. Where two words disagree, none does. Pairs of a training file get random
    splits, so that some are held out, unless other files are the dev and the test split.
    """
    found = {}
    for file in files:
        words = _WORD.findall(file.path.name)
        splits = {split_of(word) for word in words} - {""}
        found[file.name] = splits.pop() if len(splits) == 1 else ""
    if not {"dev", "test"} <= set(found.values()):
        found = {name: "" if split == "train" else split for name, split in found.items()}
    return found


def read_file(
    file: PairsFile, config: CorpusConfig, report: SourceReport, quarantine: IO[str], advance: Callable[[], object]
) -> Iterator[Candidate]:
    """The pairs of a ``.jsonl``; malformed lines are quarantined.

    Args:
      file: what ``sources.resolve`` found.
      config: for ``max_malformed_share`` and ``code_only``.
      report: filled on the way; its ``split`` is that of lines that name none.
      quarantine: gets a JSON line ``{file, line, reason, text}`` for each malformed line.
      advance: called when the file is done.

    Raises:
      UserError: too large a share of the lines is malformed, or the file is damaged.
    """
    first = ""
    for number, raw in _lines(file):
        if not raw.strip():
            continue
        report.lines += 1
        try:
            values = dict(_parse(raw, number))
            if values.get("split") in (None, ""):
                partition = values.get("partition")
                values["split"] = (split_of(partition) if isinstance(partition, str) else "") or report.split
            if config.code_only and values.get("text") is None:
                values["text"] = ""
            candidate = _candidate(values, file.path.absolute().parent.name, file.path.name, number)
        except Malformed as reason:
            report.malformed += 1
            report.skipped.add(f"malformed line: {reason}", f"{file.name}:{number}")
            first = first or f"{file.name}:{number}: {reason}"
            text = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
            record = {"file": file.name, "line": number, "reason": str(reason), "text": text}
            quarantine.write(json.dumps(record) + "\n")
        else:
            report.pairs += 1
            yield candidate
    advance()
    if report.malformed > config.max_malformed_share * report.lines:
        raise UserError(
            f"source '{file.name}': {report.malformed:,} of {report.lines:,} lines are malformed, the first at"
            f" {first}; correct them or raise config.corpus.max_malformed_share={config.max_malformed_share:g}"
        )


def read_codes(file: PairsFile, key: str) -> Iterator[str]:
    """The code of each line of a ``.jsonl``, whatever else the line holds or lacks.

    Args:
      file: what was found.
      key: of the config that names it, for messages.

    Raises:
      UserError: the file is damaged, or a line has no code: what cannot be read cannot be held out.
    """
    for number, raw in _lines(file):
        if raw.strip():
            try:
                values = _parse(raw, number)
                if not isinstance(values.get("code"), str):
                    raise Malformed("'code' is not a string" if "code" in values else "no 'code'")
            except Malformed as reason:
                raise UserError(f"{key}: {file.name}:{number}: {reason}; correct or delete the line") from None
            yield values["code"]


def read_dataset(dataset: PairsDataset, report: SourceReport, advance: Callable[[], object]) -> Iterator[Candidate]:
    """The pairs of a TFDS dataset with the features text and code; its splits keep their names' meaning.

    As with files, training pairs of a public set leave the split open unless the set has both a dev and a test split.

    Raises:
      UserError: it cannot be read, or its features or splits are others.
    """
    leaves_open = is_public_set(dataset.dataset) and not {"dev", "test"} <= set(dataset.splits)
    for split in dataset.splits:
        if not split_of(split):
            raise UserError(
                f"source '{dataset.name}' has a split '{split}'{nearest(split, _SPLIT_NAMES)};"
                f" splits must be among {', '.join(_SPLIT_NAMES)}"
            )
        for number, values in enumerate(read_examples(dataset.dataset, split), start=1):
            report.lines += 1
            report.pairs += 1
            try:
                yield _candidate(
                    {**values, "split": "" if leaves_open and split == "train" else split},
                    dataset.full_name,
                    split,
                    number,
                    dataset.licence,
                )
            except Malformed as reason:
                raise UserError(f"source '{dataset.name}', split '{split}', example {number}: {reason}") from None
    advance()


def _lines(file: PairsFile) -> Iterator[tuple[int, bytes]]:
    opener = gzip.open if file.path.name.lower().endswith(".gz") else open
    number = 0
    try:
        with cast("IO[bytes]", opener(file.path, "rb")) as lines:
            while raw := lines.readline(_LINE_BYTES):
                number += 1
                yield number, raw
                while len(raw) == _LINE_BYTES and not raw.endswith(b"\n"):
                    raw = lines.readline(_LINE_BYTES)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(
            f"source '{file.name}' is damaged after line {number:,}: {error}; copy or compress it again"
        ) from None
    except OSError as error:
        raise UserError(f"source '{file.name}' cannot be read after line {number:,}: {error}") from None


def _parse(raw: bytes, number: int) -> Mapping[str, Any]:
    if len(raw) == _LINE_BYTES:
        raise Malformed(f"longer than {_LINE_BYTES:,} bytes")
    try:
        values = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError:
        raise Malformed("not UTF-8") from None
    except (ValueError, RecursionError) as error:
        detail = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise Malformed(f"not JSON ({detail})") from None
    if not isinstance(values, dict):
        raise Malformed("not a JSON object")
    return values


def _candidate(values: Mapping[str, Any], repository: str, path: str, number: int, licence: str = "") -> Candidate:
    for key in ("text", "code"):
        if key not in values:
            raise Malformed(f"no '{key}'")
        if not isinstance(values[key], str):
            raise Malformed(f"'{key}' is not a string")
    for key in ("split", "language"):
        if not isinstance(values.get(key), str | None):
            raise Malformed(f"'{key}' is not a string")
    for key in ("id", "group"):
        if not isinstance(values.get(key), str | int | None):
            raise Malformed(f"'{key}' is neither a string nor an integer")
    split = values.get("split") or ""
    if split and not split_of(split):
        raise Malformed("unknown split")
    source = Source(repository, commit="", path=path, start_line=number, end_line=number, licence=licence)
    own_id = values.get("id")
    try:
        tests = execution_of(values)
    except ValueError as reason:
        raise Malformed(str(reason)) from None
    pair = Pair(
        id=origin_id(source, FILE_KIND) if own_id is None or own_id == "" else str(own_id),
        text=values["text"],
        code=values["code"],
        language=canonical(values.get("language") or ""),
        kind=FILE_KIND,
        source=source,
        split=split_of(split),
        tests=tests,
    )
    try:
        "\0".join((pair.id, pair.text, pair.code, pair.language, *(tests.texts() if tests else ()))).encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed("a lone surrogate") from None
    group = values.get("group")
    return Candidate(pair, pair.id if group is None or group == "" else str(group))
