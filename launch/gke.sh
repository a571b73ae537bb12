#!/usr/bin/env bash
# Trains on a GKE cluster of TPUs or GPUs, as a JobSet that xpk creates. Written against xpk 1.16.0 (JobSet 0.10).
set -euo pipefail
# shellcheck source=launch/_common.sh
source "$(dirname "${BASH_SOURCE[0]}")/_common.sh"

usage() {
  cat <<'TEXT'
Usage: bash launch/gke.sh --name NAME --cluster CLUSTER --zone ZONE --image IMAGE --workdir DIR
                          (--tpu-type TYPE | --device-type TYPE) [OPTION]... [-- ARGUMENT...]

Creates an xpk workload that calls t2c run on every machine, and follows the log of the first. ARGUMENTs are passed to
t2c run. If a pod is evicted, is killed or exits with 75 or 143, all pods restart from the checkpoint. An error (1) or a
user error (2) ends the job. Ctrl-C stops following, not the run; --follow resumes following.

  --name NAME           of the workload
  --cluster CLUSTER     created by xpk cluster create, which also selects spot or reserved machines
  --zone ZONE           of the cluster
  --project PROJECT     default: gcloud's own
  --image IMAGE         built from launch/Dockerfile with the extras for the machines, and pushed
  --tpu-type TYPE       such as v6e-64
  --device-type TYPE    of GPU machines, such as h100-mega-80gb-8
  --slices N            TPU slices, or GPU machines; default: 1
  --workdir DIR         gs://BUCKET/PATH, if the image has the extra gs; or below the mount point of --storage
  --storage NAME        a shared file system, attached with xpk storage attach
  --config FILE         default: configs/quickstart.py; inside the image
  --restarts N          how often all pods are restarted; default: 100
  --grace SECONDS       time for saving after SIGTERM; default: 120 (GKE gives spot machines less)
  --follow              only follow the log of a running workload (for GPU machines: with --device-type)
  --delete              only delete the workload
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

# The line that the shell of each machine executes. With exec, SIGTERM reaches t2c: xpk sends it to its own child.
command_line() {
  local words=("$@") word
  for word in "${words[@]}"; do
    case "$word" in
      *[\"\'\\\$]* | *$'\n'*) fail "xpk pastes the command into YAML: quotes, backslashes, dollars and newlines do not work, as in $word" ;;
    esac
  done
  # Translates xpk's variables to JAX's. On a TPU slice JAX finds its hosts by itself.
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
  # xpk adds the exit codes 42 and 127 to 255.
  run xpk workload create "--workload=$name" "${place[@]}" "${machines[@]}" "--max-restarts=$restarts" \
    --restart-on-exit-codes=75 "--termination-grace-period-seconds=$grace" "${flags[@]}"
}

# Follows the pod of the first machine, and each pod that replaces it, to the end of the JobSet.
follow() {
  local selector="jobset.sigs.k8s.io/jobset-name=$name,jobset.sigs.k8s.io/job-index=0" pod seen="" state
  selector="$selector,batch.kubernetes.io/job-completion-index=0"
  local container=jax-tpu # named by xpk; other containers of a pod mount the storage
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
    # It fails until the pod's container has started.
    if [ -n "$pod" ] && [ "$pod" != "$seen" ] && kubectl logs --follow "--container=$container" "$pod"; then seen="$pod"; fi
    state="$("${ask[@]}")"
    case "$state" in
      Complete*) return ;;
      Failed)
        say "the run failed; see the end of its log above"
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
    *) fail "--workdir $workdir is not an absolute path, and the files of a pod are lost with the pod" ;;
  esac
  check_config "$config"
  check_count --slices "$slices"
  check_count --restarts "$restarts" 0
  check_count --grace "$grace"
  line="$(command_line t2c run --config "$config" --workdir "$workdir" ${arguments[@]+"${arguments[@]}"})"
  create "$line"
  follow
fi
