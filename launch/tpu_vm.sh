#!/usr/bin/env bash
# Trains on a Cloud TPU: creates the VM or slice, installs this checkout on all of its workers, runs one config there.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: bash launch/tpu_vm.sh --name NAME --zone ZONE [OPTION]... [-- ARGUMENT...]

Creates the TPU VM or slice unless it stands already, copies this checkout to all of its workers and installs it,
starts t2c run there and follows worker 0's log. Ctrl-C stops the following, not the run; the same command again
follows on. ARGUMENTs go on to t2c run, such as --config.train.steps=20000.

  --name NAME               of the TPU
  --zone ZONE               such as us-east5-b
  --project PROJECT         default: gcloud's own
  --accelerator-type TYPE   default: v6e-8; a larger type, such as v6e-64, is a slice of several workers
  --runtime-version VERSION default: by type, e.g. v2-alpha-tpuv6e for v6e
  --queued                  through a queued resource, waiting until there is capacity
  --spot                    cheaper, and may be taken away at any time; the same command goes on from the checkpoint
  --config FILE             default: configs/quickstart.py; inside this checkout
  --workdir DIR             default: runs/NAME of the config, on the worker; gs://BUCKET/PATH is mounted with gcsfuse.
                            A slice of several workers needs gs://: they share one workdir
  --follow                  follow the log of a run that was started before, and do nothing else
  --delete                  delete the TPU (and its queued resource), and do nothing else
  --dry-run                 print every command, properly quoted, and run none
  --help

Needs gcloud (logged in, its TPU API enabled). What the config mines has to be reachable from the workers:
python:stdlib, a path in this checkout, or a path under the workdir's bucket, mounted at ~/bucket.
TEXT
}

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
name="" zone="" project="" type=v6e-8 runtime="" queued=false spot=false
config=configs/quickstart.py workdir="" action=run dry_run=false
arguments=()
poll="${T2C_POLL_SECONDS:-30}"

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "error: $*"
  exit 2
}

# One command line that a shell reads back as exactly these words.
quote() {
  local word line=""
  for word in "$@"; do
    case "$word" in
      '' | *[!A-Za-z0-9_./:=,@%+-]*) word="'${word//\'/\'\\\'\'}'" ;;
    esac
    line="$line${line:+ }$word"
  done
  printf '%s\n' "$line"
}

run() {
  if $dry_run; then quote "$@"; else "$@"; fi
}

value_of() {
  [ $# -ge 2 ] && [ -n "$2" ] || fail "$1 needs a value; see --help"
  printf '%s\n' "$2"
}

parse() {
  while [ $# -gt 0 ]; do
    case "$1" in
      --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;; # --name=x as --name x
    esac
    case "$1" in
      --name) name="$(value_of "$@")" ;;
      --zone) zone="$(value_of "$@")" ;;
      --project) project="$(value_of "$@")" ;;
      --accelerator-type) type="$(value_of "$@")" ;;
      --runtime-version) runtime="$(value_of "$@")" ;;
      --config) config="$(value_of "$@")" ;;
      --workdir) workdir="$(value_of "$@")" ;;
      --queued) queued=true ;;
      --spot) spot=true ;;
      --follow) action=follow ;;
      --delete) action=delete ;;
      --dry-run) dry_run=true ;;
      --help | -h)
        usage
        exit 0
        ;;
      --)
        shift
        arguments=("$@")
        break
        ;;
      *) fail "unknown argument '$1'; arguments for t2c run come after --; see --help" ;;
    esac
    case "$1" in
      --queued | --spot | --follow | --delete | --dry-run) shift ;;
      *) shift 2 ;;
    esac
  done
  [ -n "$name" ] && [ -n "$zone" ] || fail "--name and --zone are needed; see --help"
  [ -f "$root/$config" ] || fail "--config $config is not a file of this checkout"
  $dry_run || command -v gcloud >/dev/null || fail "gcloud is not on PATH; install the Google Cloud CLI"
  if [ -z "$workdir" ]; then
    workdir="runs/$(basename "$config" .py)"
  fi
  if [ -z "$runtime" ]; then
    case "$type" in
      v6e-*) runtime=v2-alpha-tpuv6e ;;
      v5p-*) runtime=v2-alpha-tpuv5 ;;
      v5litepod-*) runtime=v2-alpha-tpuv5-lite ;;
      v2-* | v3-* | v4-*) runtime=tpu-ubuntu2204-base ;;
      *) fail "no runtime version is known for $type; give --runtime-version" ;;
    esac
  fi
}

where() { printf '%s\n' "--zone=$zone" ${project:+"--project=$project"}; }

tpu_exists() {
  ! $dry_run && gcloud compute tpus tpu-vm describe "$name" "${place[@]}" --format='value(state)' >/dev/null 2>&1
}

create() {
  local flags=("--accelerator-type=$type")
  if $spot; then flags+=(--spot); fi
  if tpu_exists; then
    say "$name stands already"
  elif $queued; then
    run gcloud compute tpus queued-resources create "$name" "${place[@]}" "--node-id=$name" \
      "--runtime-version=$runtime" "${flags[@]}"
    await_capacity
  else
    run gcloud compute tpus tpu-vm create "$name" "${place[@]}" "--version=$runtime" "${flags[@]}"
  fi
}

await_capacity() {
  local describe=(gcloud compute tpus queued-resources describe "$name" "${place[@]}" '--format=value(state.state)')
  local state="" seen=""
  if $dry_run; then
    run "${describe[@]}"
    return
  fi
  while state="$("${describe[@]}")" && [ "$state" != ACTIVE ]; do
    case "$state" in
      FAILED | SUSPENDED | SUSPENDING | DELETING) fail "the queued resource $name is $state; --delete it and try again" ;;
    esac
    [ "$state" = "$seen" ] || say "waiting for capacity: $state"
    seen="$state"
    sleep "$poll"
  done
}

# on WORKER COMMAND...
on() {
  local worker="$1"
  shift
  run gcloud compute tpus tpu-vm ssh "$name" "${place[@]}" "--worker=$worker" "--command=$*"
}

check_workers() {
  local workers
  case "$workdir" in gs://*) return ;; esac
  if $dry_run; then return; fi
  workers="$(gcloud compute tpus tpu-vm describe "$name" "${place[@]}" '--format=value(networkEndpoints.len())')"
  [ "${workers:-1}" -le 1 ] || fail "$name has $workers workers, which must share one workdir: give --workdir gs://BUCKET/PATH"
}

copy() {
  local archive="${TMPDIR:-/tmp}/t2c-$name.tar.gz" attempts=5
  run tar -czf "$archive" --exclude=./.git --exclude=./.venv --exclude=./runs --exclude=./.cache -C "$root" .
  # A worker answers a while after its VM is there.
  until run gcloud compute tpus tpu-vm scp "$archive" "$name:t2c.tar.gz" "${place[@]}" --worker=all; do
    [ $((attempts -= 1)) -gt 0 ] || fail "cannot copy to the workers of $name"
    sleep "$poll"
  done
}

work() { quote bash t2c_jax/launch/_tpu_worker.sh "$@"; }

start() {
  local directory="$workdir" bucket=""
  case "$workdir" in
    gs://*)
      bucket="${workdir#gs://}"
      bucket="${bucket%%/*}"
      directory="../bucket${workdir#"gs://$bucket"}"
      ;;
  esac
  on all "$(work start "$bucket" --config "$config" --workdir "$directory" ${arguments[@]+"${arguments[@]}"})"
}

follow() { on 0 "$(work follow)"; }

parse "$@"
place=()
while IFS= read -r flag; do place+=("$flag"); done < <(where)
case "$action" in
  delete)
    if $queued; then
      run gcloud compute tpus queued-resources delete "$name" "${place[@]}" --force --quiet
    else
      run gcloud compute tpus tpu-vm delete "$name" "${place[@]}" --quiet
    fi
    ;;
  follow) follow ;;
  run)
    create
    check_workers
    copy
    on all "mkdir -p t2c_jax && tar -xzf t2c.tar.gz -C t2c_jax && $(work install)"
    start
    follow
    undo=(--name "$name" "${place[@]}")
    if $queued; then undo+=(--queued); fi
    $dry_run || say "done; $name costs money until: bash launch/tpu_vm.sh $(quote "${undo[@]}" --delete)"
    ;;
esac
