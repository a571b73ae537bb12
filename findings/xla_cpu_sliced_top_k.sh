#!/usr/bin/env bash
# On CPUs, a slice of jax.lax.top_k that does not begin at the first result turns it into a sort of the whole array.
#
# Versions:  jax 0.10.2, jaxlib 0.10.2, on a CPU.
# Behaviour: jax.lax.top_k compiles to the custom call TopK. XLA merges a slice of its results with the slice that top_k
#            itself is, and where the merged slice does not begin at 0, it compiles a sort instead: of 16 x 8192 numbers
#            it takes some 60 times as long. values[:, -1], the threshold of top-k sampling, is such a slice. Slices from
#            the first result on are not affected. An optimization_barrier around top_k keeps the custom call.
# Output:    values: TopK
#            values[:, :4]: TopK
#            values[:, -1]: sort
#            values[:, 4:]: sort
#            values >= values[:, -1:]: TopK and sort
#            barrier, values[:, -1]: TopK
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
cd "$work"
JAX_PLATFORMS=cpu "$work/venv/bin/python" - <<'PYTHON'
import jax


def values(x):
    return jax.lax.top_k(x, 8)[0]


FUNCTIONS = {
    "values": values,
    "values[:, :4]": lambda x: values(x)[:, :4],
    "values[:, -1]": lambda x: values(x)[:, -1],
    "values[:, 4:]": lambda x: values(x)[:, 4:],
    "values >= values[:, -1:]": lambda x: values(x) >= values(x)[:, -1:],
    "barrier, values[:, -1]": lambda x: jax.lax.optimization_barrier(values(x))[:, -1],
}
compiled = {}
for name, function in FUNCTIONS.items():
    text = jax.jit(function).lower(jax.ShapeDtypeStruct((16, 8192), "float32")).compile().as_text()
    calls = {"TopK": 'custom_call_target="TopK"' in text, "sort": " sort(" in text}
    compiled[name] = " and ".join(call for call, is_there in calls.items() if is_there)
    print(f"{name}: {compiled[name]}")
expected = ["TopK", "TopK", "sort", "sort", "TopK and sort", "TopK"]
assert [*compiled.values()] == expected, "changed: slices of top_k compile to something else"
PYTHON
