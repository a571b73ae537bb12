#!/usr/bin/env bash
# What the other scripts run on a cloud machine, in the directory that contains the checkout:
#
#   _worker.sh install EXTRA[,EXTRA]  makes .venv in the checkout, with the package and its extras
#   _worker.sh start ARGUMENT...      starts t2c run, unless it is running
#   _worker.sh follow LINES           prints the last LINES of the run's log (+1: all) and what follows, until the run
#                                     ends; exits with its status
#   _worker.sh stop                   sends SIGTERM, so that the run saves; kills it after T2C_GRACE_SECONDS (120)
set -euo pipefail
home="$PWD"
# shellcheck source=launch/_environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"

install() {
  local python
  export PATH="$HOME/.local/bin:$PATH"
  python="$(find_python)"
  if [ -z "$python" ]; then # older images: uv installs a Python
    command -v uv >/dev/null || python3 -m pip install --quiet --user uv
  elif ! "$python" -c 'import ensurepip' 2>/dev/null; then
    sudo apt-get update --quiet
    sudo apt-get install --quiet --yes python3-venv
  fi
  make_environment "$1"
}

# The process id of the run's supervisor, which is its process group id as well.
supervisor() { cat "$home/t2c.pid" 2>/dev/null; }

is_running() { kill -0 -- "-$(supervisor)" 2>/dev/null; }

start() {
  if is_running; then
    say "a run is already running here"
    return
  fi
  rm -f "$home/t2c.status"
  cd "$root"
  # The supervisor survives a signal to the group, to record the exit status of the run.
  # shellcheck disable=SC2016 # for the inner shell
  setsid nohup bash -c 'trap : TERM; status=0; "$@" || status=$?; echo "$status" >"$0"' \
    "$home/t2c.status" "$venv/bin/t2c" run "$@" >>"$home/t2c.log" 2>&1 </dev/null &
  echo $! >"$home/t2c.pid"
}

follow() {
  [ -n "$(supervisor)" ] || fail "no run was started here"
  tail --lines="$1" --follow --pid="$(supervisor)" "$home/t2c.log"
  # No status: the machine went down during the run.
  exit "$(cat "$home/t2c.status" 2>/dev/null || echo 75)"
}

stop() {
  local deadline=$((SECONDS + ${T2C_GRACE_SECONDS:-120}))
  is_running || return 0
  kill -TERM -- "-$(supervisor)"
  while is_running; do
    [ $SECONDS -lt $deadline ] || kill -KILL -- "-$(supervisor)" || true
    sleep 0.2
  done
}

"$@"
