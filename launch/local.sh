#!/usr/bin/env bash
# From a clean clone to a trained model on this machine: makes .venv, installs the package, runs the quickstart.
#
#   bash launch/local.sh                            the tour of the README
#   bash launch/local.sh --config.train.steps=200   arguments are passed to t2c run
#   EXTRA=cuda bash launch/local.sh                 on this machine's GPUs
#   PYTHON=python3.12 bash launch/local.sh          with this interpreter
set -euo pipefail
# shellcheck source=launch/_environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

make_environment "${EXTRA:-}"
cd "$root"
exec "$venv/bin/t2c" run --config configs/quickstart.py --workdir runs/quickstart "$@"
