#!/usr/bin/env bash
# save_file writes the memory of an array, not its values, if the array is a view that is not row-major.
#
# Versions:  safetensors 0.8.0, numpy 2.4.6. safetensors 0.7.0 writes the values.
# Behaviour: no error and no warning. Shape and dtype of the file are those of the view; the numbers are others.
# Output:    transposed: saved [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]] loaded [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
#            strided: saved [[0.0, 2.0], [3.0, 5.0]] loaded [[0.0, 1.0], [2.0, 3.0]]
# Advice:    np.ascontiguousarray before save_file.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import numpy as np
from safetensors.numpy import load_file, save_file

array = np.arange(6, dtype=np.float32).reshape(2, 3)
for name, view in {"transposed": array.T, "strided": array[:, ::2]}.items():
    save_file({"x": view}, "x.safetensors")
    loaded = load_file("x.safetensors")["x"]
    print(f"{name}: saved {view.tolist()} loaded {loaded.tolist()}")
    assert loaded.shape == view.shape
    assert not np.array_equal(loaded, view), "changed: the values of the view are saved"
    save_file({"x": np.ascontiguousarray(view)}, "x.safetensors")
    assert np.array_equal(load_file("x.safetensors")["x"], view)
PYTHON
