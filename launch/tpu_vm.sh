#!/usr/bin/env bash
# Trains on a Cloud TPU: creates the VM or slice, installs this checkout on all of its workers, runs one config there,
# and does so again when the TPU is taken away. Written against gcloud 528.0.0.
set -euo pipefail
# shellcheck source=launch/_common.sh
source "$(dirname "${BASH_SOURCE[0]}")/_common.sh"

usage() {
  cat <<'TEXT'
Usage: bash launch/tpu_vm.sh --name NAME --zone ZONE [OPTION]... [-- ARGUMENT...]

Creates the TPU VM or slice unless it stands already, copies this checkout to all of its workers and installs it,
starts t2c run there and follows worker 0's log. ARGUMENTs go on to t2c run, such as --config.train.steps=20000.

While this script follows, it starts the run again when the run asks for it (it exits with 75, with 143, or killed),
and when the TPU is taken away it creates another one and goes on from the checkpoint. Ctrl-C stops the following, not
the run; the same command again takes it up.

  --name NAME               of the TPU
  --zone ZONE               such as us-east5-b
  --project PROJECT         default: gcloud's own
  --accelerator-type TYPE   default: v6e-8; a larger type, such as v6e-64, is a slice of several workers
  --runtime-version VERSION default: by type, e.g. v2-alpha-tpuv6e for v6e
  --queued                  through a queued resource, waiting until there is capacity
  --spot                    cheaper, and may be taken away at any time; needs a --workdir that outlives it
  --config FILE             default: configs/quickstart.py; inside this checkout
  --workdir DIR             default: runs/NAME of the config, on the worker. A slice of several workers
                            needs gs://BUCKET/PATH: they share one workdir
  --restarts N              how often to start the run again on a TPU that stands; default: 10
  --worker N                whose log to follow; default: 0
  --follow                  follow the log of a run that was started before, and do nothing else
  --delete                  delete the TPU (and its queued resource), and do nothing else
  --dry-run                 print every command, properly quoted, and run none
  --help

Needs gcloud (logged in, its TPU API enabled). What the config mines has to be reachable from the workers:
python:stdlib, a path in this checkout, or a gs:// file of pairs.
TEXT
}

name="" zone="" project="" accelerator_type=v6e-8 runtime_version="" queued=false spot=false
config=configs/quickstart.py workdir="" restarts=10 worker=0 follow=false delete=false
options "name zone project accelerator-type runtime-version config workdir restarts worker" \
  "queued spot follow delete dry-run" "$@"
poll="${T2C_POLL_SECONDS:-30}"
[ -n "$name" ] && [ -n "$zone" ] || fail "--name and --zone are needed; see --help"
check_config "$config"
check_count --restarts "$restarts" 0
[ -n "$workdir" ] || workdir="runs/$(basename "$config" .py)"
if $spot && [[ $workdir != gs://* ]]; then
  fail "a --spot TPU takes its disk along when it goes: give --workdir gs://BUCKET/PATH"
fi
if [ -z "$runtime_version" ]; then
  case "$accelerator_type" in
    v6e-*) runtime_version=v2-alpha-tpuv6e ;;
    v5p-*) runtime_version=v2-alpha-tpuv5 ;;
    v5litepod-*) runtime_version=v2-alpha-tpuv5-lite ;;
    v2-* | v3-* | v4-*) runtime_version=tpu-ubuntu2204-base ;;
    *) fail "no runtime version is known for $accelerator_type; give --runtime-version" ;;
  esac
fi
check_command gcloud "install the Google Cloud CLI"
place=("--zone=$zone" ${project:+"--project=$project"})

files="$(mktemp -d)"
trap 'rm -rf "$files"' EXIT

# describe KIND FORMAT: what gcloud says of it; nothing where there is none.
describe() {
  if $dry_run; then return; fi
  gcloud compute tpus "$1" describe "$name" "${place[@]}" "--format=$2" 2>"$files/errors" && return
  grep -qiE 'not.?found' "$files/errors" && return
  cat "$files/errors" >&2
  return 1
}

# The TPU's state, or that of the queued resource that has yet to bring one.
state() {
  local request=""
  if $queued; then request="$(describe queued-resources 'value(state.state)')" || return; fi
  case "$request" in
    '' | ACTIVE) describe tpu-vm 'value(state)' ;;
    *) printf '%s\n' "$request" ;;
  esac
}

create() {
  local flags=("--accelerator-type=$accelerator_type")
  if $spot; then flags+=(--spot); fi
  if $queued; then
    run gcloud compute tpus queued-resources create "$name" "${place[@]}" "--node-id=$name" \
      "--runtime-version=$runtime_version" "${flags[@]}"
  else
    run gcloud compute tpus tpu-vm create "$name" "${place[@]}" "--version=$runtime_version" "${flags[@]}"
  fi
}

delete() {
  if $queued; then
    run gcloud compute tpus queued-resources delete "$name" "${place[@]}" --force --quiet
  else
    run gcloud compute tpus tpu-vm delete "$name" "${place[@]}" --quiet
  fi
}

# stand [again]: until the TPU is there. After a loss, what gcloud refuses now (no capacity) is asked for until it is had.
stand() {
  local now seen=""
  if $dry_run; then
    create
    return
  fi
  while now="$(state)" || exit; do
    case "$now" in
      READY) return ;;
      '')
        say "creating $name"
        create || [ $# -gt 0 ] || fail "gcloud could not create $name$($queued || echo "; --queued waits for capacity")"
        ;;
      PREEMPTED | TERMINATED | SUSPENDED)
        say "$name is $now: making way for another one"
        delete || true
        ;;
      FAILED | STOPPED | HIDDEN | UNKNOWN) fail "$name is $now; --delete it and try again" ;;
      "$seen") ;;
      *) say "waiting for $name: $now" ;;
    esac
    seen="$now"
    sleep "$poll"
  done
}

# on WORKER COMMAND...
on() {
  local worker="$1"
  shift
  run gcloud compute tpus tpu-vm ssh "$name" "${place[@]}" "--worker=$worker" "--command=$*"
}

work() { quote bash t2c_jax/launch/_worker.sh "$@"; }

check_workers() {
  local workers
  case "$workdir" in gs://*) return ;; esac
  workers="$(describe tpu-vm 'value(networkEndpoints.len())')" || exit
  [ "${workers:-1}" -le 1 ] || fail "$name has $workers workers, which must share one workdir: give --workdir gs://BUCKET/PATH"
}

pack() {
  run tar -czf "$archive" --exclude=./.git --exclude=./.venv --exclude=./runs --exclude=./.cache -C "$root" .
}

# Fails as ssh does where the workers cannot be reached; they answer a while after their VM is there.
install() {
  run gcloud compute tpus tpu-vm scp "$archive" "$name:t2c.tar.gz" "${place[@]}" --worker=all || return 255
  on all "mkdir -p t2c_jax && tar -xzf t2c.tar.gz -C t2c_jax && $(work install tpu,gs)"
}

start() {
  on all "$(work start --config "$config" --workdir "$workdir" ${arguments[@]+"${arguments[@]}"})"
}

# may_restart STATUS: whether the run is to start again; counts it.
may_restart() {
  again "$1" || return
  [ $((restarts -= 1)) -ge 0 ] || { say "the run ended with $1 once more than --restarts allows"; return 1; }
}

# From a TPU that stands to the end of the run, over whatever befalls the two.
train() {
  local step=install next status now lines=+1 drops=0 since
  while [ "$step" != end ]; do
    status=0
    since=$SECONDS
    case "$step" in
      install) next=start && install || status=$? ;;
      start) next=follow && start || status=$? ;;
      follow) next=end && on "$worker" "$(work follow "$lines")" || status=$? ;;
      stop) next=start && on all "$(work stop)" || status=$? ;;
    esac
    if [ $status -eq 0 ]; then
      step=$next
      continue
    fi
    lines=20
    sleep "$poll"
    now="$(state)" || now=READY # gcloud cannot say: as if the connection were lost
    if [ "$now" != READY ]; then
      say "$name is ${now:-gone}"
      stand again
      step=install
    elif [ $status -eq 255 ]; then # what ssh, and gcloud after it, answers where there is no connection
      [ $((SECONDS - since)) -lt 600 ] || drops=0
      [ $((drops += 1)) -le 10 ] || fail "the workers of $name do not answer"
      say "the workers of $name do not answer; trying again"
    elif [ "$step" = follow ] && may_restart $status; then
      say "the run ended with $status: starting it again"
      step=stop
    else
      return $status
    fi
  done
}

archive="$files/t2c.tar.gz"
if $dry_run; then archive="${TMPDIR:-/tmp}/t2c.tar.gz"; fi
if $delete; then
  delete
elif $follow; then
  on "$worker" "$(work follow +1)"
else
  stand
  check_workers
  pack
  train
  undo=(--name "$name" "${place[@]}")
  if $queued; then undo+=(--queued); fi
  $dry_run || say "done; $name costs money until: bash launch/tpu_vm.sh $(quote "${undo[@]}" --delete)"
fi
