#!/usr/bin/env bash
# Trains on GPUs of a SLURM cluster, on one node or several. Written against the manuals of Slurm 22.05 and later.
set -euo pipefail
# shellcheck source=launch/_common.sh
source "$(dirname "${BASH_SOURCE[0]}")/_common.sh"

usage() {
  cat <<'TEXT'
Usage: bash launch/slurm.sh --workdir DIR [OPTION]... [-- ARGUMENT...]

Makes .venv in this checkout and submits a job that calls t2c run once for each GPU. The nodes have to see the checkout
under the same path. JAX finds its processes through SLURM. ARGUMENTs are passed to t2c run.

The run saves before the time limit, and the job is requeued. The job is also requeued after exit status 75 or 143, a
kill, a preemption or a node failure. An error (1), a user error (2) or scancel ends the job.

  --workdir DIR     on a file system that all nodes share; the job's log is written there as well
  --nodes N         default: 1
  --gpus N          of each node; default: 1
  --cpus N          for each GPU; default: 8
  --name NAME       of the job; default: t2c
  --config FILE     default: configs/quickstart.py; inside this checkout
  --restarts N      how often the job is requeued; default: 100
  --grace SECONDS   time for saving before the time limit; default: 120
  --dry-run         print every command, properly quoted, and run none
  --help

Set partition, account, time limit and the like through the variables of sbatch:
SBATCH_PARTITION=gpu SBATCH_ACCOUNT=lab SBATCH_TIMELIMIT=24:00:00 bash launch/slurm.sh ...
TEXT
}

workdir="" nodes=1 gpus=1 cpus=8 name=t2c config=configs/quickstart.py restarts=100 grace=120
options "workdir nodes gpus cpus name config restarts grace" "dry-run" "$@"
case "$workdir" in
  '') fail "--workdir is needed: a directory that all nodes share" ;;
  *://*) fail "--workdir $workdir is not a directory; it has to be on a file system that the nodes share" ;;
  /*) ;;
  *) workdir="$root/$workdir" ;;
esac
check_config "$config"
for count in nodes gpus cpus grace; do check_count "--$count" "${!count}"; done
check_count --restarts "$restarts" 0
check_command sbatch "run this on a login node"

# shellcheck disable=SC2016 # for the inner shell
run bash -c 'source "$0" && make_environment cuda' "$root/launch/_environment.sh"
run mkdir -p "$workdir"
# Every task sees all GPUs of its node, and JAX uses the one of its local rank. So they are requested per node.
run sbatch "--job-name=$name" "--nodes=$nodes" "--ntasks-per-node=$gpus" "--gpus-per-node=$gpus" \
  "--cpus-per-task=$cpus" --requeue "--signal=B:TERM@$grace" --open-mode=append "--output=$workdir/slurm-%j.log" \
  "--chdir=$root" "$root/launch/_slurm_job.sh" batch "$restarts" "$workdir" \
  --config "$config" --workdir "$workdir" ${arguments[@]+"${arguments[@]}"}
$dry_run || say "log: tail -F $(quote "$workdir")/slurm-JOB.log; cancel: scancel JOB"
