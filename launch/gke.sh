#!/usr/bin/env bash
# Trains on a GKE cluster of TPUs or GPUs, as a JobSet that xpk writes. Written against xpk 1.16.0 (JobSet 0.10).
set -euo pipefail
# shellcheck source=launch/_common.sh
source "$(dirname "${BASH_SOURCE[0]}")/_common.sh"

usage() {
  cat <<'TEXT'
Usage: bash launch/gke.sh --name NAME --cluster CLUSTER --zone ZONE --image IMAGE --workdir DIR
                          (--tpu-type TYPE | --device-type TYPE) [OPTION]... [-- ARGUMENT...]

Creates an xpk workload that calls t2c run on every machine, and follows the log of the first. ARGUMENTs go on to
t2c run. A pod that is evicted, asks for another start (75, 143) or is killed has all of them started again, from the
checkpoint; an error (1) or a mistake (2) ends the job. Ctrl-C stops the following, not the run; --follow takes it up.

  --name NAME           of the workload
  --cluster CLUSTER     made by xpk cluster create, which also decides on spot or reserved machines
  --zone ZONE           of the cluster
  --project PROJECT     default: gcloud's own
  --image IMAGE         built from launch/Dockerfile and pushed, with the extras that the machines need
  --tpu-type TYPE       such as v6e-64
  --device-type TYPE    of GPU machines, such as h100-mega-80gb-8
  --slices N            TPU slices, or GPU machines; default: 1
  --workdir DIR         gs://BUCKET/PATH, of an image with the extra gs; or below the mount point of --storage
  --storage NAME        a file system of all machines, attached with xpk storage attach
  --config FILE         default: configs/quickstart.py; inside the image
  --restarts N          how often all pods are started again; default: 100
  --grace SECONDS       for saving after SIGTERM; default: 120 (GKE gives spot machines less)
  --follow              follow the log of a run that was started before, and do nothing else (of GPU machines: with
                        their --device-type again)
  --delete              delete the workload, and do nothing else
  --dry-run             print every command, properly quoted, and run none
  --help

Needs xpk, kubectl and gcloud (logged in).
TEXT
}

name="" cluster="" zone="" project="" image="" tpu_type="" device_type="" slices=1 workdir="" storage=""
config=configs/quickstart.py restarts=100 grace=120 follow=false delete=false
options "name cluster zone project image tpu-type device-type slices workdir storage config restarts grace" \
  "follow delete dry-run" "$@"
poll="${T2C_POLL_SECONDS:-15}"
[ -n "$name" ] && [ -n "$cluster" ] && [ -n "$zone" ] || fail "--name, --cluster and --zone are needed; see --help"
check_command xpk "install it with pipx install xpk"
check_command kubectl "install the Google Cloud CLI's kubectl and gke-gcloud-auth-plugin"
place=("--cluster=$cluster" "--zone=$zone" ${project:+"--project=$project"})

# The line that each machine's shell executes. exec: xpk sends SIGTERM to the process that it started.
command_line() {
  local words=("$@") word
  for word in "${words[@]}"; do
    case "$word" in
      *[\"\'\\\$]* | *$'\n'*) fail "xpk pastes the command into YAML: no quotes, backslashes, dollars or newlines, as in $word" ;;
    esac
  done
  # xpk's names for what JAX has other names for. A TPU slice tells JAX by itself.
  if [ -n "$device_type" ]; then
    # shellcheck disable=SC2016 # for the shell in the pod
    printf '%s ' 'export JAX_COORDINATOR_ADDRESS=$JAX_COORDINATOR_ADDRESS:$JAX_COORDINATOR_PORT' \
      'JAX_NUM_PROCESSES=$NNODES JAX_PROCESS_ID=$NODE_RANK;'
  fi
  printf 'exec %s\n' "$(quote "${words[@]}")"
}

create() {
  local flags=("--docker-image=$image" "--command=$1") machines
  if [ -n "$tpu_type" ]; then
    machines=("--tpu-type=$tpu_type" "--num-slices=$slices")
  else
    machines=("--device-type=$device_type" "--num-nodes=$slices")
  fi
  if [ -n "$storage" ]; then flags+=("--storage=$storage"); fi
  # xpk adds 42 and 127 to 255 to the exit codes.
  run xpk workload create "--workload=$name" "${place[@]}" "${machines[@]}" "--max-restarts=$restarts" \
    --restart-on-exit-codes=75 "--termination-grace-period-seconds=$grace" "${flags[@]}"
}

# Follows the first machine's pod, and the one after it, to the end of the JobSet.
follow() {
  local selector="jobset.sigs.k8s.io/jobset-name=$name,jobset.sigs.k8s.io/job-index=0" pod seen="" state
  selector="$selector,batch.kubernetes.io/job-completion-index=0"
  local container=jax-tpu # xpk's names; other containers of a pod mount its storage
  if [ -n "$device_type" ]; then container=gpu-image; fi
  local find=(kubectl get pods "--selector=$selector" --sort-by=.metadata.creationTimestamp --output=name)
  local ask=(kubectl get jobset "$name" '--output=jsonpath={.status.terminalState}')
  if $dry_run; then
    run "${find[@]}"
    run kubectl logs --follow "--container=$container" POD
    run "${ask[@]}"
    return
  fi
  while true; do
    pod="$("${find[@]}" | tail -n 1)"
    # It fails as long as the pod's container has not started.
    if [ -n "$pod" ] && [ "$pod" != "$seen" ] && kubectl logs --follow "--container=$container" "$pod"; then seen="$pod"; fi
    state="$("${ask[@]}")"
    case "$state" in
      Complete*) return ;;
      Failed)
        say "the run failed; its last words are above"
        return 1
        ;;
    esac
    sleep "$poll"
  done
}

if $delete; then
  run xpk workload delete "--workload=$name" "${place[@]}" --force
elif $follow; then
  run xpk workload list "${place[@]}" "--filter-by-job=$name" # it also gives kubectl the cluster's credentials
  follow
else
  [ -n "$image" ] || fail "--image is needed: docker build --file launch/Dockerfile --build-arg EXTRA=tpu,gs --tag IMAGE ."
  [ -n "$tpu_type$device_type" ] || fail "--tpu-type or --device-type is needed; see --help"
  [ -z "$tpu_type" ] || [ -z "$device_type" ] || fail "--tpu-type and --device-type exclude each other"
  case "$workdir" in
    gs://* | /*) ;;
    '') fail "--workdir is needed: gs://BUCKET/PATH, or a path below the mount point of --storage" ;;
    *) fail "--workdir $workdir is no absolute path, and a pod's own files go with the pod" ;;
  esac
  check_config "$config"
  check_count --slices "$slices"
  check_count --restarts "$restarts" 0
  check_count --grace "$grace"
  line="$(command_line t2c run --config "$config" --workdir "$workdir" ${arguments[@]+"${arguments[@]}"})"
  create "$line"
  follow
fi
