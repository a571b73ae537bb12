#!/usr/bin/env bash
# What the other scripts run on a rented machine, in the directory that the checkout lies in:
#
#   _worker.sh install EXTRA[,EXTRA]  makes .venv beside this checkout's launch/, with the package and its extras
#   _worker.sh start ARGUMENT...      starts t2c run, unless it runs
#   _worker.sh follow LINES           prints the run's log from its last LINES on (+1: all) until it ends, and exits
#                                     as it did
#   _worker.sh stop                   asks the run to save and end, and ends it after T2C_GRACE_SECONDS (120)
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
  make_environment "$1"
}

# The process of the run's keeper, which is the number of its process group too.
keeper() { cat "$home/t2c.pid" 2>/dev/null; }

runs() { kill -0 -- "-$(keeper)" 2>/dev/null; }

start() {
  if runs; then
    say "a run goes on here already"
    return
  fi
  rm -f "$home/t2c.status"
  cd "$root"
  # The keeper outlives a signal to the group, to write down how the run ended.
  # shellcheck disable=SC2016 # for the inner shell
  setsid nohup bash -c 'trap : TERM; status=0; "$@" || status=$?; echo "$status" >"$0"' \
    "$home/t2c.status" "$venv/bin/t2c" run "$@" >>"$home/t2c.log" 2>&1 </dev/null &
  echo $! >"$home/t2c.pid"
}

follow() {
  [ -n "$(keeper)" ] || fail "no run was started here"
  tail --lines="$1" --follow --pid="$(keeper)" "$home/t2c.log"
  # No status: the machine went down under the run.
  exit "$(cat "$home/t2c.status" 2>/dev/null || echo 75)"
}

stop() {
  local deadline=$((SECONDS + ${T2C_GRACE_SECONDS:-120}))
  runs || return 0
  kill -TERM -- "-$(keeper)"
  while runs; do
    [ $SECONDS -lt $deadline ] || kill -KILL -- "-$(keeper)" || true
    sleep 0.2
  done
}

"$@"
