#!/usr/bin/env bash
# A checkpoint of Orbax holds the absolute path at which it was written.
#
# Versions:  orbax-checkpoint 0.12.8, jax 0.10.2.
# Behaviour: commit_success.txt, written on local disks too, names the directory in full. Copies keep the first path, are
#            restored from anywhere, and show to everybody the user and the machine's layout. Two equal checkpoints in two
#            places differ in this file.
# Output:    x/commit_success.txt: Checkpoint commit was successful to DIRECTORY/x
#            copied to y: restored [1.0, 1.0], and the file still names x
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check orbax-checkpoint==0.12.8 jax==0.10.2 numpy==2.4.6
cd "$work"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PYTHON'
import logging
import shutil
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp

logging.disable(logging.WARNING)
here = Path.cwd()
checkpointer = ocp.StandardCheckpointer()
checkpointer.save(here / "x", {"a": np.ones(2)})
checkpointer.wait_until_finished()
text = (here / "x/commit_success.txt").read_text()
print(f"x/commit_success.txt: {text.replace(str(here), 'DIRECTORY')}")
assert str(here / "x") in text, "changed: the path is not in the checkpoint"
shutil.copytree(here / "x", here / "y")
restored = checkpointer.restore(here / "y")["a"].tolist()
assert (here / "y/commit_success.txt").read_text() == text
print(f"copied to y: restored {restored}, and the file still names x")
PYTHON
