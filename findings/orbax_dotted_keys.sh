#!/usr/bin/env bash
# Orbax saves two arrays under one name if a key has a dot in it, and restores one of them twice.
#
# Versions:  orbax-checkpoint 0.12.8, jax 0.10.2.
# Behaviour: the names of the arrays on disk are the keys joined by dots. {"a.b": x} and {"a": {"b": y}} have the same
#            name. Saving and restoring succeed without a warning; both entries are then equal.
# Output:    saved 1.0 and 0.0, restored 0.0 and 0.0
#            In other runs both are 1.0: which of the two is kept varies.
# Advice:    no dots in keys.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check orbax-checkpoint==0.12.8 jax==0.10.2 numpy==2.4.6
cd "$work"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PYTHON'
import logging
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp

logging.disable(logging.WARNING)
checkpointer = ocp.StandardCheckpointer()
checkpointer.save(Path("x").absolute(), {"a.b": np.ones(2), "a": {"b": np.zeros(2)}})
checkpointer.wait_until_finished()
restored = checkpointer.restore(Path("x").absolute())
dotted, nested = float(restored["a.b"][0]), float(restored["a"]["b"][0])
print(f"saved 1.0 and 0.0, restored {dotted} and {nested}")
assert dotted == nested, "changed: the two arrays are kept apart"
PYTHON
