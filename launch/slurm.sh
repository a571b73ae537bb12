#!/usr/bin/env bash
# Trains on GPUs of a SLURM cluster, on one node or several. Written against the manuals of Slurm 22.05 and later.
set -euo pipefail
# shellcheck source=launch/_common.sh
source "$(dirname "${BASH_SOURCE[0]}")/_common.sh"

usage() {
  cat <<'TEXT'
Usage: bash launch/slurm.sh --workdir DIR [OPTION]... [-- ARGUMENT...]

Makes .venv in this checkout, which the nodes have to see under the same path, and submits a job that calls t2c run
once for each GPU; JAX finds its processes through SLURM. ARGUMENTs go on to t2c run.

Before its time is up the run saves, and the job goes back into the queue, as it does when the run asks for another
start (75, 143), when it was killed, when the job is preempted and when a node fails. An error (1) or a mistake (2)
ends the job, and so does scancel.

  --workdir DIR     on a file system that all nodes share; the job's log is written there too
  --nodes N         default: 1
  --gpus N          of each node; default: 1
  --cpus N          for each GPU; default: 8
  --name NAME       of the job; default: t2c
  --config FILE     default: configs/quickstart.py; inside this checkout
  --restarts N      how often the job goes back into the queue; default: 100
  --grace SECONDS   for saving, before the time is up; default: 120
  --dry-run         print every command, properly quoted, and run none
  --help

Partition, account, time and the like go into sbatch's own variables:
SBATCH_PARTITION=gpu SBATCH_ACCOUNT=lab SBATCH_TIMELIMIT=24:00:00 bash launch/slurm.sh ...
TEXT
}

workdir="" nodes=1 gpus=1 cpus=8 name=t2c config=configs/quickstart.py restarts=100 grace=120
options "workdir nodes gpus cpus name config restarts grace" "dry-run" "$@"
case "$workdir" in
  '') fail "--workdir is needed: a directory that all nodes share" ;;
  *://*) fail "--workdir $workdir is no directory; the nodes have to share it as a file system" ;;
  /*) ;;
  *) workdir="$root/$workdir" ;;
esac
check_config "$config"
for count in nodes gpus cpus grace; do check_count "--$count" "${!count}"; done
check_count --restarts "$restarts" 0
check_command sbatch "run this where jobs are submitted"

# shellcheck disable=SC2016 # for the inner shell
run bash -c 'source "$0" && make_environment cuda' "$root/launch/_environment.sh"
run mkdir -p "$workdir"
# Every task sees all GPUs of its node and JAX takes the one of its rank there, so they are not asked for by task.
run sbatch "--job-name=$name" "--nodes=$nodes" "--ntasks-per-node=$gpus" "--gpus-per-node=$gpus" \
  "--cpus-per-task=$cpus" --requeue "--signal=B:TERM@$grace" --open-mode=append "--output=$workdir/slurm-%j.log" \
  "--chdir=$root" "$root/launch/_slurm_job.sh" batch "$restarts" "$workdir" \
  --config "$config" --workdir "$workdir" ${arguments[@]+"${arguments[@]}"}
$dry_run || say "its log: tail -F $(quote "$workdir")/slurm-JOB.log; to end it: scancel JOB"
