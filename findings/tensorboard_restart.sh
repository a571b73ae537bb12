#!/usr/bin/env bash
# After a restart from an older step TensorBoard shows the repeated steps twice, unless the new file says START.
#
# Versions:  tensorboard 2.21.0.
# Behaviour: steps that go back in a new event file are not taken as a restart. The older points stay beside the new
#            ones. An event with a session log of status START purges the points from its own step on. That step is the
#            first one of the new run: with the step after it, one old point stays.
# Output:    without START: [(10, 1.0), (20, 1.0), (30, 1.0), (40, 1.0), (30, 2.0), (40, 2.0), (50, 2.0)]
#            START at 30:   [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0), (50, 2.0)]
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check 'tensorboard==2.21.0' 'protobuf==7.36.2'
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import time

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


def write(directory, steps, value, start=None):
    writer = EventFileWriter(directory)
    if start is not None:
        log = SessionLog(status=SessionLog.START)
        writer.add_event(Event(wall_time=time.time(), step=start, session_log=log))
    for step in steps:
        summary = Summary(value=[Summary.Value(tag="loss", simple_value=value)])
        writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
    writer.close()


def points(directory, start):
    write(directory, (10, 20, 30, 40), 1.0)
    time.sleep(1.1)  # file names hold seconds
    write(directory, (30, 40, 50), 2.0, start)
    reader = EventAccumulator(directory)
    reader.Reload()
    return [(event.step, event.value) for event in reader.Scalars("loss")]


without, with_start = points("without", None), points("with", 30)
print("without START:", without)
print("START at 30:  ", with_start)
assert [step for step, _ in without].count(30) == 2, "changed: steps that go back are a restart"
assert with_start == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0), (50, 2.0)]
PYTHON
