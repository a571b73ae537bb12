#!/usr/bin/env bash
# What launch/tpu_vm.sh runs on a worker, in the worker's home directory:
#
#   _tpu_worker.sh install                    makes .venv beside this checkout's launch/
#   _tpu_worker.sh start BUCKET ARGUMENT...   mounts the bucket, if one is named, and starts t2c run, unless it runs
#   _tpu_worker.sh follow                     prints the run's log until it ends, and exits as it did
set -euo pipefail
home="$PWD"
# shellcheck source=launch/_environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

install() {
  local python
  export PATH="$HOME/.local/bin:$PATH"
  python="$(find_python)"
  if [ -z "$python" ]; then # older images: uv brings a Python
    command -v uv >/dev/null || python3 -m pip install --quiet --user uv
  elif ! "$python" -c 'import ensurepip' 2>/dev/null; then
    sudo apt-get update --quiet
    sudo apt-get install --quiet --yes python3-venv
  fi
  make_environment tpu
}

start() {
  local bucket="$1"
  shift
  if [ -f "$home/t2c.pid" ] && kill -0 "$(cat "$home/t2c.pid")" 2>/dev/null; then
    say "a run goes on here already"
    return
  fi
  if [ -n "$bucket" ] && ! mountpoint --quiet "$home/bucket"; then
    command -v gcsfuse >/dev/null || fail "gcsfuse is not on this image; install it, or choose another --runtime-version"
    mkdir -p "$home/bucket"
    gcsfuse --implicit-dirs "$bucket" "$home/bucket"
  fi
  rm -f "$home/t2c.status"
  cd "$root"
  # shellcheck disable=SC2016 # for the inner shell
  nohup bash -c 'status=0; "$@" || status=$?; echo "$status" >"$0"' "$home/t2c.status" "$venv/bin/t2c" run "$@" \
    >"$home/t2c.log" 2>&1 </dev/null &
  echo $! >"$home/t2c.pid"
}

follow() {
  tail -n +1 --follow --pid="$(cat "$home/t2c.pid")" "$home/t2c.log"
  exit "$(cat "$home/t2c.status" 2>/dev/null || echo 1)"
}

"$@"
