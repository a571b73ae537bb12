"""The formats of files of pairs, and the rows of a file.

JSON lines (``.jsonl``, ``.ndjson``) and tables with a header (``.csv``, ``.tsv``) may be compressed (``.gz``, ``.bz2``,
``.xz``, ``.zst``). Parquet and Arrow's two formats have their own compression. All are read a piece at a time.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from t2c_jax.errors import UserError

COMPRESSIONS = ("", ".gz", ".bz2", ".xz", ".zst")
_LINES, _TABLES = (".jsonl", ".ndjson"), {".csv": ",", ".tsv": "\t"}
SUFFIXES = (
    *(suffix + compression for suffix in (*_LINES, *_TABLES) for compression in COMPRESSIONS),
    *(".parquet", ".arrow"),
)
"""What the names of files of pairs end with, in any case."""
_LINE_BYTES = 16_000_000  # a longer line is no pair that any limit would keep, and must not fill the memory
_BATCH_ROWS = 500


class Malformed(ValueError):
    """Why a row is not a pair."""


class Row(NamedTuple):
    """A line of a file of pairs, or a row of a table.

    Attributes:
      first: its number, from 1: of its first line, or of the row where the format has no lines.
      last: of its last line.
      raw: as it is written, as far as it is known.
      values: None for a malformed row.
      reason: why it is malformed.
    """

    first: int
    last: int
    raw: bytes
    values: Mapping[str, Any] | None
    reason: str = ""


def is_pairs_file(name: str) -> bool:
    """Whether a file of this name is a file of pairs."""
    return name.lower().endswith(SUFFIXES)


def read_rows(path: Path, name: str, columns: Collection[str] = ()) -> Iterator[Row]:
    """The rows of a file, blank lines left out.

    Args:
      path: of the file.
      name: for messages.
      columns: those that are needed of a format that stores columns; empty for all.

    Raises:
      UserError: the file cannot be read, or is damaged.
    """
    number = 0
    try:
        for row in _rows(path, columns):
            number = row.last
            yield row
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, ValueError) as error:
        what = f"{_first_line(error)}{_hint(path)}; copy or compress it again"
        raise UserError(f"source '{name}' is damaged after line {number:,}: {what}") from None
    except OSError as error:
        damaged = error.errno is None  # pyarrow's, and bz2's
        what = "is damaged" if damaged else "cannot be read"
        raise UserError(f"source '{name}' {what} after line {number:,}: {_first_line(error)}{_hint(path)}") from None


def _first_line(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0] or type(error).__name__


def _hint(path: Path) -> str:
    try:
        with path.open("rb") as file:
            is_pointer = file.read(40).startswith(b"version https://git-lfs")
    except OSError:
        return ""
    return " (it is a pointer of Git LFS: run 'git lfs pull')" if is_pointer else ""


def _rows(path: Path, columns: Collection[str]) -> Iterator[Row]:
    name = path.name.lower()
    if name.endswith((".parquet", ".arrow")):
        rows = (values for batch in _batches(path, columns) for values in batch.to_pylist())
        yield from (Row(number, number, b"", values) for number, values in enumerate(rows, start=1))
    else:
        compression = next(end for end in COMPRESSIONS[::-1] if name.endswith(end))
        with open_compressed(path, compression) as lines:
            suffix = Path(name.removesuffix(compression)).suffix
            yield from _table(lines, _TABLES[suffix]) if suffix in _TABLES else _json_lines(lines)


def open_compressed(path: Path, compression: str) -> IO[bytes]:
    """Opens a file that is compressed as its suffix ``compression`` says, one of ``COMPRESSIONS``."""
    if compression == ".zst":
        import pyarrow

        return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"))
    openers: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, "": open}
    return cast("IO[bytes]", openers[compression](path, "rb"))


def _json_lines(file: IO[bytes]) -> Iterator[Row]:
    for number, raw in _numbered(file):
        if raw.strip():
            try:
                yield Row(number, number, raw, _parsed(raw, number))
            except Malformed as reason:
                yield Row(number, number, raw, None, str(reason))


def _numbered(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers; of a line that is too long, its beginning."""
    number = 0
    while raw := file.readline(_LINE_BYTES):
        number += 1
        yield number, raw
        while len(raw) == _LINE_BYTES and not raw.endswith(b"\n"):
            raw = file.readline(_LINE_BYTES)


def _parsed(raw: bytes, number: int) -> Mapping[str, Any]:
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


def _table(file: IO[bytes], delimiter: str) -> Iterator[Row]:
    """The rows below the header. A quoted field may have several lines; its line ends are kept."""
    read: list[bytes] = []  # the lines of the row

    def lines() -> Iterator[str]:
        for number, raw in _numbered(file):
            read.append(raw)
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape")

    reader = csv.reader(lines(), delimiter=delimiter)
    header: list[str] | None = None
    last = 0
    while True:
        first, reason, fields = last + 1, "", []
        limit = csv.field_size_limit(_LINE_BYTES)  # of the whole process: others keep theirs
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            reason = f"not {'CSV' if delimiter == ',' else 'TSV'} ({error})"
        finally:
            csv.field_size_limit(limit)
        last, raw = first + len(read) - 1, b"".join(read)
        read.clear()
        if header is None:
            if reason:
                raise ValueError(reason)
            header = fields
        elif reason or fields:
            if not reason and len(fields) != len(header):
                reason = f"{len(fields)} fields where the header has {len(header)}"
            yield Row(
                first, last, raw[:_LINE_BYTES], None if reason else dict(zip(header, fields, strict=True)), reason
            )


def _batches(path: Path, columns: Collection[str]) -> Iterator[Any]:
    """Batches of rows that are safe to read: Arrow itself trusts the offsets in a file."""
    import pyarrow

    try:
        for batch in _parquet(path, columns) if path.name.lower().endswith(".parquet") else _arrow(path, columns):
            batch.validate(full=True)
            yield batch
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from None


def _parquet(path: Path, columns: Collection[str]) -> Iterator[Any]:
    """Batches of rows."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        wanted = [name for name in file.schema_arrow.names if not columns or name in columns]
        yield from file.iter_batches(batch_size=_BATCH_ROWS, columns=wanted)


def _arrow(path: Path, columns: Collection[str]) -> Iterator[Any]:
    """Batches of rows."""
    import pyarrow

    with pyarrow.memory_map(str(path)) as source:
        try:
            file = pyarrow.ipc.open_file(source)
            batches = (file.get_batch(index) for index in range(file.num_record_batches))
        except pyarrow.ArrowInvalid:  # Hugging Face writes streams
            source.seek(0)
            batches = iter(pyarrow.ipc.open_stream(source))
        for batch in batches:
            wanted = [name for name in batch.schema.names if not columns or name in columns]
            part = batch.select(wanted)
            for start in range(0, part.num_rows, _BATCH_ROWS):
                yield part.slice(start, _BATCH_ROWS)
