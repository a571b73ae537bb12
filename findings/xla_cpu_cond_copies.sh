#!/usr/bin/env bash
# On CPUs, jax.lax.cond copies a carried array whole where both branches update it in place; loops of one turn do not.
#
# Versions:  jax 0.10.2, jaxlib 0.10.2, on a CPU.
# Behaviour: A loop carries an array, such as a decoder's cache, and each turn writes a column of it. With lax.cond around
#            the write, XLA copies the array in both branches, so a turn costs the size of the array and not of the
#            column. There is no copy where one branch returns the array as it is, and none where each branch is a
#            while_loop of one turn or none.
# Output:    cond, both branches write: 2 copies
#            cond, one branch writes: 0 copies
#            loops of one turn or none: 0 copies
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
cd "$work"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PYTHON'
import re

import jax
import jax.numpy as jnp

ROWS, SLOTS = 64, 4096


def write(cache, step):
    return cache.at[:, step % SLOTS].add(1.0)


def both_write(cache, step):
    return jax.lax.cond(step % 2 == 0, lambda c: write(c, step), lambda c: write(c, step + 1), cache)


def one_writes(cache, step):
    return jax.lax.cond(step % 2 == 0, lambda c: write(c, step), lambda c: c, cache)


def once(condition, function, cache):
    start = (condition, cache)
    return jax.lax.while_loop(lambda s: s[0], lambda s: (jnp.zeros((), bool), function(s[1])), start)[1]


def loops(cache, step):
    cache = once(step % 2 == 0, lambda c: write(c, step), cache)
    return once(step % 2 == 1, lambda c: write(c, step + 1), cache)


def copies(body):
    def run(cache, steps):
        return jax.lax.fori_loop(0, steps, lambda step, carried: body(carried, step), cache)

    shapes = jax.ShapeDtypeStruct((ROWS, SLOTS), "float32"), jax.ShapeDtypeStruct((), "int32")
    text = jax.jit(run, donate_argnums=0).lower(*shapes).compile().as_text()
    return len(re.findall(rf"f32\[{ROWS},{SLOTS}\]\S* copy\(", text))


found = {}
for name, body in {
    "cond, both branches write": both_write,
    "cond, one branch writes": one_writes,
    "loops of one turn or none": loops,
}.items():
    found[name] = copies(body)
    print(f"{name}: {found[name]} copies")
assert [*found.values()] == [2, 0, 0], "changed: XLA copies carried arrays elsewhere"
PYTHON
