#!/usr/bin/env bash
# What launch/slurm.sh submits. SLURM runs it in the checkout's root:
#
#   _slurm_job.sh batch RESTARTS DIRECTORY ARGUMENT...   the job: t2c run on every GPU; requeues the job
#   _slurm_job.sh task FILE ARGUMENT...                  one of the processes; the first to fail writes its status to FILE
set -euo pipefail
# SLURM runs a copy of this file, so the path of the file is not that of the checkout.
# shellcheck source=launch/_common.sh
source launch/_common.sh

task() {
  local file="$1" status=0
  shift
  trap : TERM # SLURM sends it to the run as well, which saves; this shell has to survive it
  "$root/.venv/bin/t2c" run "$@" || status=$?
  if [ $status -ne 0 ]; then (set -o noclobber && echo "$status" >"$file") 2>/dev/null || true; fi
  exit $status
}

batch() {
  local restarts="$1" file="$2/slurm-$SLURM_JOB_ID.status" step status
  shift 2
  rm -f "$file"
  export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}" # srun no longer takes it from the job
  # Not through srun: it answers SIGTERM with SIGKILL to its tasks.
  trap 'say "SIGTERM: the run saves"; scancel --signal=TERM "$SLURM_JOB_ID"' TERM
  srun --kill-on-bad-exit=1 bash launch/_slurm_job.sh task "$file" "$@" &
  step=$!
  while true; do
    status=0
    wait "$step" || status=$?
    kill -0 "$step" 2>/dev/null || break # otherwise a signal interrupted wait
  done
  # srun returns the status of the tasks that it killed after the first failure. The first failure counts.
  if [ $status -ne 0 ] && [ -s "$file" ]; then status="$(cat "$file")"; fi
  rm -f "$file"
  should_restart "$status" || exit "$status"
  # SLURM itself ends or requeues a job after scancel or a preemption.
  if [ "$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)" != RUNNING ]; then exit "$status"; fi
  if [ "${SLURM_RESTART_COUNT:-0}" -ge "$restarts" ]; then
    say "error: the run ended with $status; --restarts $restarts is used up"
    exit "$status"
  fi
  say "the run ended with $status: requeueing the job"
  scontrol requeue "$SLURM_JOB_ID"
}

"$@"
