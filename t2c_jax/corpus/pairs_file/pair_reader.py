"""Reads the pairs of a file or a TFDS dataset.

A line or row has ``text`` and ``code``, and optionally ``id`` (string or integer), ``split`` or ``partition`` (a name
as ``split_of`` knows it), ``language`` (by any common name), ``group`` (pairs of one group stay in one split; without
it a pair is grouped by its id), and how an answer is run (``execution_fields``). config.corpus.columns gives these
parts other names. Other keys are ignored, and so are blank lines. With config.corpus.code_only, ``text`` may be empty,
null or missing: the line is code to pre-train on.

Where a line names no split (or an empty or null one), the file's name may: a word between separators, such as
``python_valid_0.jsonl`` or ``test-00000-of-00001.parquet``. A file of training pairs leaves the split open, so that the
shares of the config can hold some of them out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from t2c_jax.config import CorpusConfig
from t2c_jax.corpus.execution_fields import execution_of
from t2c_jax.corpus.pairs import FILE_KIND, Candidate, Pair, Source, origin_id
from t2c_jax.corpus.pairs_file.columns import Columns
from t2c_jax.corpus.pairs_file.file_formats import Malformed, read_rows
from t2c_jax.corpus.pairs_file.split_names import SPLIT_NAMES, split_of
from t2c_jax.corpus.sets.catalog import is_public_set
from t2c_jax.corpus.source_report import SourceReport
from t2c_jax.corpus.sources import PairsDataset, PairsFile
from t2c_jax.corpus.tfds_source import read_examples
from t2c_jax.errors import UserError, nearest
from t2c_jax.languages.aliases import canonical

_SHOWN = 2_000  # characters of a row without lines in the file of malformed lines


def read_file(
    file: PairsFile, config: CorpusConfig, report: SourceReport, quarantine: IO[str], advance: Callable[[], object]
) -> Iterator[Candidate]:
    """The pairs of a file; malformed lines are quarantined.

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
    columns = Columns(config.columns)
    for row in read_rows(file.path, file.name, columns.needed):
        report.lines += 1
        try:
            if row.values is None:
                raise Malformed(row.reason)
            values = columns.renamed(row.values)
            if values.get("split") in (None, ""):
                partition = values.get("partition")
                values["split"] = (split_of(partition) if isinstance(partition, str) else "") or report.split
            if config.code_only and values.get("text") is None:
                values["text"] = ""
            candidate = _candidate(values, Source(file.folder, "", file.place, row.first, row.last, ""))
        except Malformed as reason:
            report.malformed += 1
            report.skipped.add(f"malformed line: {reason}", f"{file.name}:{row.first}")
            first = first or f"{file.name}:{row.first}: {reason}{_columns_hint(row.values, reason)}"
            shown = row.raw or repr(row.values)[:_SHOWN].encode("utf-8", "backslashreplace")
            text = shown.decode("utf-8", "backslashreplace").rstrip("\r\n")
            record = {"file": file.name, "line": row.first, "reason": str(reason), "text": text}
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


def _columns_hint(values: Mapping[str, Any] | None, reason: Malformed) -> str:
    if not values or not str(reason).startswith("no '"):
        return ""
    return f" among {', '.join(map(repr, list(values)[:10]))}; name the columns in config.corpus.columns"


def read_codes(file: PairsFile, key: str, columns: Sequence[str] = ()) -> Iterator[str]:
    """The code of each row, whatever else the row holds or lacks.

    Args:
      file: what was found.
      key: of the config that names it, for messages.
      columns: see config.corpus.columns.

    Raises:
      UserError: the file is damaged or empty, or a row has no code: what cannot be read cannot be held out.
    """
    names = Columns(columns)
    is_empty = True
    for row in read_rows(file.path, file.name, names.needed):
        values = names.renamed(row.values or {})
        if not isinstance(values.get("code"), str):
            reason = row.reason or ("'code' is not a string" if "code" in values else "no 'code'")
            raise UserError(f"{key}: {file.name}:{row.first}: {reason}; correct or delete the line")
        is_empty = False
        yield values["code"]
    if is_empty:
        raise UserError(f"{key}: '{file.name}' is empty; correct the path")


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
                f"source '{dataset.name}' has a split '{split}'{nearest(split, SPLIT_NAMES)};"
                f" splits must be among {', '.join(SPLIT_NAMES)}"
            )
        for number, values in enumerate(read_examples(dataset.dataset, split), start=1):
            report.lines += 1
            report.pairs += 1
            try:
                yield _candidate(
                    {**values, "split": "" if leaves_open and split == "train" else split},
                    Source(dataset.full_name, "", split, number, number, dataset.licence),
                )
            except Malformed as reason:
                raise UserError(f"source '{dataset.name}', split '{split}', example {number}: {reason}") from None
    advance()


def _candidate(values: Mapping[str, Any], source: Source) -> Candidate:
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
        raise Malformed("a lone surrogate, or bytes that are not UTF-8") from None
    group = values.get("group")
    return Candidate(pair, pair.id if group is None or group == "" else str(group))
