#!/usr/bin/env bash
# Schedule-free averaging of optax stops averaging after some hundred steps where any parameter is bfloat16.
#
# Versions:  optax 0.2.8, jax 0.10.2.
# Behaviour: schedule_free keeps the sum of its weights in the lowest precision of all parameters. With a constant rate
#            step t should weigh 1/t in the average. One bfloat16 parameter makes the sum bfloat16, and to that a weight
#            is added for some hundred steps only. From then on every step weighs 1/489, for the float32 parameters too:
#            their mean is over the latest steps instead of all. state_dtype changes z alone.
# Output:    float32 alone: step 2000 weighs 0.000500
#            beside one bfloat16: step 2000 weighs 0.002045
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check optax==0.2.8 jax==0.10.2
cd "$work"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PYTHON'
import jax
import jax.numpy as jnp
import optax
from optax.contrib import schedule_free


def last_weight(params, steps=2000, rate=1e-3):
    optimizer = schedule_free(optax.sgd(rate), rate, b1=0.9, state_dtype=jnp.float32)
    state, step = optimizer.init(params), jax.jit(optimizer.update)
    gradients = jax.tree.map(jnp.ones_like, params)
    for _ in range(steps):
        updates, state = step(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return float(state.max_lr**2 / state.weight_sum)


alone = last_weight({"kernel": jnp.zeros(4)})
beside = last_weight({"kernel": jnp.zeros(4), "scale": jnp.zeros(1, jnp.bfloat16)})
print(f"float32 alone: step 2000 weighs {alone:.6f}")
print(f"beside one bfloat16: step 2000 weighs {beside:.6f}")
assert abs(alone * 2000 - 1) < 0.01, "changed: the weights in float32"
assert beside * 2000 > 3, "changed: bfloat16 parameters keep the average over all steps"
PYTHON
