#!/usr/bin/env bash
# Trains on a Cloud TPU: creates the VM or slice, installs this checkout on all workers, and runs one config there.
# Repeats this after a preemption. Written against gcloud 528.0.0.
set -euo pipefail
# shellcheck source=launch/_common.sh
source "$(dirname "${BASH_SOURCE[0]}")/_common.sh"

usage() {
  cat <<'TEXT'
Usage: bash launch/tpu_vm.sh --name NAME --zone ZONE [OPTION]... [-- ARGUMENT...]

Creates the TPU VM or slice unless it exists, copies this checkout to all workers, installs it, starts t2c run there
and follows the log of worker 0. ARGUMENTs are passed to t2c run, such as --config.train.steps=20000.

While this script follows the log, it restarts the run after exit status 75 or 143 and after a kill. After a preemption
it creates another TPU, and the run resumes from its checkpoint. Ctrl-C stops following, not the run; the same command
resumes following.

  --name NAME               of the TPU
  --zone ZONE               such as us-east5-b
  --project PROJECT         default: that of gcloud
  --accelerator-type TYPE   default: v6e-8; a larger type, such as v6e-64, is a slice of several workers
  --runtime-version VERSION default: by type, e.g. v2-alpha-tpuv6e for v6e
  --queued                  as a queued resource, which waits for capacity
  --spot                    cheaper, may be preempted at any time; needs a --workdir in a bucket
  --config FILE             default: configs/quickstart.py; inside this checkout
  --workdir DIR             default: runs/NAME of the config, on the worker. A slice of several workers
                            needs gs://BUCKET/PATH, because they share it
  --restarts N              how often to restart the run on the same TPU; default: 10
  --worker N                the worker whose log is followed; default: 0
  --follow                  only follow the log of a running run
  --delete                  only delete the TPU and its queued resource
  --dry-run                 print every command, properly quoted, and run none
  --help

Needs gcloud, logged in, with the TPU API enabled. The workers have to be able to read the sources of the config:
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
  fail "a --spot TPU loses its disk when it is preempted: give --workdir gs://BUCKET/PATH"
fi
if [ -z "$runtime_version" ]; then
  case "$accelerator_type" in
    v6e-*) runtime_version=v2-alpha-tpuv6e ;;
    v5p-*) runtime_version=v2-alpha-tpuv5 ;;
    v5litepod-*) runtime_version=v2-alpha-tpuv5-lite ;;
    v2-* | v3-* | v4-*) runtime_version=tpu-ubuntu2204-base ;;
    *) fail "unknown accelerator type $accelerator_type; give --runtime-version" ;;
  esac
fi
check_command gcloud "install the Google Cloud CLI"
place=("--zone=$zone" ${project:+"--project=$project"})

files="$(mktemp -d)"
trap 'rm -rf "$files"' EXIT

# describe KIND FORMAT: prints what gcloud reports; nothing if the TPU does not exist.
describe() {
  if $dry_run; then return; fi
  gcloud compute tpus "$1" describe "$name" "${place[@]}" "--format=$2" 2>"$files/errors" && return
  grep -qiE 'not.?found' "$files/errors" && return
  cat "$files/errors" >&2
  return 1
}

# Prints the state of the TPU, or of the queued resource that waits for one.
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

# wait_until_ready [retry]: creates the TPU if needed and waits for it. With retry, it tries again after a refusal such
# as missing capacity.
wait_until_ready() {
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
        say "$name is $now: replacing it"
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

# on_worker WORKER COMMAND...
on_worker() {
  local worker="$1"
  shift
  run gcloud compute tpus tpu-vm ssh "$name" "${place[@]}" "--worker=$worker" "--command=$*"
}

work() { quote bash t2c_jax/launch/_worker.sh "$@"; }

check_workers() {
  local workers
  case "$workdir" in gs://*) return ;; esac
  workers="$(describe tpu-vm 'value(networkEndpoints.len())')" || exit
  [ "${workers:-1}" -le 1 ] || fail "$name has $workers workers, which share one workdir: give --workdir gs://BUCKET/PATH"
}

pack() {
  run tar -czf "$archive" --exclude=./.git --exclude=./.venv --exclude=./runs --exclude=./.cache -C "$root" .
}

# Returns 255, as ssh does, if the workers cannot be reached; they answer some time after the VM is ready.
install() {
  run gcloud compute tpus tpu-vm scp "$archive" "$name:t2c.tar.gz" "${place[@]}" --worker=all || return 255
  on_worker all "mkdir -p t2c_jax && tar -xzf t2c.tar.gz -C t2c_jax && $(work install tpu,gs)"
}

start() {
  on_worker all "$(work start --config "$config" --workdir "$workdir" ${arguments[@]+"${arguments[@]}"})"
}

# may_restart STATUS: whether the run is restarted; counts the restarts.
may_restart() {
  should_restart "$1" || return
  [ $((restarts -= 1)) -ge 0 ] || { say "the run ended with $1; --restarts is used up"; return 1; }
}

# Runs from a ready TPU to the end of the run, through restarts, preemptions and lost connections.
train() {
  local step=install next status now lines=+1 drops=0 since
  while [ "$step" != end ]; do
    status=0
    since=$SECONDS
    case "$step" in
      install) next=start && install || status=$? ;;
      start) next=follow && start || status=$? ;;
      follow) next=end && on_worker "$worker" "$(work follow "$lines")" || status=$? ;;
      stop) next=start && on_worker all "$(work stop)" || status=$? ;;
    esac
    if [ $status -eq 0 ]; then
      step=$next
      continue
    fi
    lines=20
    sleep "$poll"
    now="$(state)" || now=READY # gcloud failed: treated as a lost connection
    if [ "$now" != READY ]; then
      say "$name is ${now:-gone}"
      wait_until_ready retry
      step=install
    elif [ $status -eq 255 ]; then # ssh's status, and gcloud's, when there is no connection
      [ $((SECONDS - since)) -lt 600 ] || drops=0
      [ $((drops += 1)) -le 10 ] || fail "the workers of $name do not answer"
      say "the workers of $name do not answer; trying again"
    elif [ "$step" = follow ] && may_restart $status; then
      say "the run ended with $status: restarting it"
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
  on_worker "$worker" "$(work follow +1)"
else
  wait_until_ready
  check_workers
  pack
  train
  undo=(--name "$name" "${place[@]}")
  if $queued; then undo+=(--queued); fi
  $dry_run || say "done; $name costs money until you run: bash launch/tpu_vm.sh $(quote "${undo[@]}" --delete)"
fi
