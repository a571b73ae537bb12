#!/usr/bin/env bash
# A file of ArrayRecord that was cut short opens without an error and has 0 records.
#
# Versions:  array_record 0.8.6.
# Behaviour: the constructor and num_records() do not raise. ok() turns False, the error itself is
#            raised by close() alone. Code that opens a reader, takes its length and leaves it to the garbage collector
#            sees an empty file. ArrayRecordDataSource closes its reader, and raises.
# Output:    whole: 100 records, ok True
#            one byte short: 0 records, ok False
#            close: RuntimeError: Invalid Riegeli/records file: ...
#            data source: RuntimeError: Invalid Riegeli/records file: ...
# Advice:    close every reader, or compare with a number of records that is stored elsewhere.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check array_record==0.8.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import os
from pathlib import Path

from array_record.python import array_record_data_source, array_record_module

path = "x.array_record"
writer = array_record_module.ArrayRecordWriter(path, "group_size:1")
for _ in range(100):
    writer.write(os.urandom(1000))
writer.close()
whole = array_record_module.ArrayRecordReader(path)
print(f"whole: {whole.num_records()} records, ok {whole.ok()}")
assert whole.num_records() == 100
Path(path).write_bytes(Path(path).read_bytes()[:-1])
short = array_record_module.ArrayRecordReader(path)
print(f"one byte short: {short.num_records()} records, ok {short.ok()}")
assert short.num_records() == 0, "changed: the reader notices the end"
for name, open_and_close in {
    "close": short.close,
    "data source": lambda: array_record_data_source.ArrayRecordDataSource(path),
}.items():
    try:
        open_and_close()
    except RuntimeError as error:
        print(f"{name}: RuntimeError: {str(error)[:40]} ...")
    else:
        raise AssertionError(f"changed: {name} does not raise")
PYTHON
