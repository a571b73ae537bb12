#!/usr/bin/env bash
# Importing bm25s starts JAX's backend where JAX is installed, so jax.distributed.initialize() fails after the import.
#
# Versions:  bm25s 0.3.16, jax 0.10.2, on a CPU.
# Behaviour: bm25s needs numpy alone, but where jax can be imported, it calls jax.lax.top_k once when it is imported. That
#            chooses and starts the backend, and on an accelerator takes its memory. A program that imports bm25s before
#            it calls jax.distributed.initialize() gets a RuntimeError. In the other order both work.
# Output:    backends after the import of jax: 0
#            backends after the import of bm25s: 1
#            initialize: RuntimeError: jax.distributed.initialize() must be called before any JAX calls that might initialise
#            the XLA backend. [...]
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check bm25s==0.3.16 jax==0.10.2 jaxlib==0.10.2
cd "$work"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PYTHON'
import jax
from jax._src import xla_bridge

before = len(xla_bridge._backends)
print("backends after the import of jax:", before)
import bm25s  # noqa: E402, F401

after = len(xla_bridge._backends)
print("backends after the import of bm25s:", after)
error = ""
try:
    jax.distributed.initialize("localhost:12345", num_processes=1, process_id=0)
except RuntimeError as raised:
    error = str(raised).splitlines()[0]
    print("initialize: RuntimeError:", error)
assert (before, after) == (0, 1), "changed: the import of bm25s starts no backend"
assert "before any JAX calls" in error, "changed: initialize works after the import of bm25s"
PYTHON
