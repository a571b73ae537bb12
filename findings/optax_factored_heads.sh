#!/usr/bin/env bash
# Adafactor of optax does not factor attention kernels that keep heads and head width apart.
#
# Versions:  optax 0.2.8, jax 0.10.2.
# Behaviour: scale_by_factored_rms factors the two largest axes, and only if both have at least 128 entries
#            (min_dim_size_to_factor). A kernel (width, heads, head width) such as (256, 8, 64) has one such axis. Its
#            second moments are kept whole, in silence: no memory is saved. The same numbers as (256, 512) are factored.
# Output:    (256, 8, 64): 131074 numbers of state for 131072 parameters
#            (256, 512): 769 numbers of state for 131072 parameters
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check optax==0.2.8 jax==0.10.2
cd "$work"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PYTHON'
import math

import jax
import jax.numpy as jnp
import optax


def state_size(shape):
    state = optax.scale_by_factored_rms().init({"kernel": jnp.zeros(shape)})
    size = sum(leaf.size for leaf in jax.tree.leaves((state.v_row, state.v_col, state.v)))
    print(f"{shape}: {size} numbers of state for {math.prod(shape)} parameters")
    return size


assert state_size((256, 8, 64)) > 256 * 8 * 64, "changed: the heads are factored"
assert state_size((256, 512)) < 1000
PYTHON
