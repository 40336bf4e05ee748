#!/usr/bin/env bash
# Training on TPUs of Google Kubernetes Engine, through xpk.
#
# The flags are from xpk 1.16.0 (`xpk cluster create --help`, `xpk workload create --help`). --restart-on-exit-codes
# adds to its own codes 42 and 127-255; other codes end the workload. So far this script ran only with a stub of xpk.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=commands.sh
source "$(dirname "${BASH_SOURCE[0]}")/commands.sh"
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
    cat <<'TEXT'
usage: launch/gke_xpk.sh COMMAND --project=PROJECT --zone=ZONE --cluster=CLUSTER [OPTION...] [-- PROGRAM-OPTION...]

commands
  image            build the image of this checkout at a commit with docker, and push it
  cluster-create   create a cluster with TPU node pools; call it again to change their number
  run              start the program on all hosts of all slices; the cluster restarts it when it asks for a restart
  status           list the workloads of the cluster
  stop             delete the workload; the program saves within the grace period, and the same `run` resumes it
  cluster-delete   delete the cluster

options; those with a variable can also be set in the environment
  --project=PROJECT   FSFM_PROJECT   Google Cloud project
  --zone=ZONE         FSFM_ZONE      zone, such as europe-west4-b
  --cluster=CLUSTER   FSFM_CLUSTER   name of the cluster
  --type=TYPE         FSFM_TPU_TYPE  TPU type, such as v4-32, v5litepod-16, v5p-32, v6e-16   (cluster-create, run)
  --image=IMAGE       FSFM_IMAGE     such as REGION-docker.pkg.dev/PROJECT/REPOSITORY/fsfm_jax:COMMIT     (image, run)
  --base=IMAGE        FSFM_BASE      base image with Python 3.11, python@sha256:...                     (image)
  --workload=NAME     FSFM_NAME      name of the run                                                       (run, stop)
  --num-slices=N      number of slices (default 1)                                            (cluster-create, run)
  --spot              use spot capacity                                                       (cluster-create, run)
  --max-restarts=N    maximum number of restarts (default 100)                                (run)
  --grace=SECONDS     time to save after a stop signal (default 120; spot nodes give less)     (run)
  --commit=COMMIT     commit to put into the image (default HEAD)                             (image)
  --dry-run           print the commands, one per line, without executing them
  --help              print this help

The program is `python -m fsfm_jax.main --cluster PROGRAM-OPTION...`; it needs --config= and --workdir=gs://...
TEXT
}

[[ $# -gt 0 ]] || { usage >&2; exit 2; }
COMMAND=$1
shift
PROJECT=${FSFM_PROJECT:-} ZONE=${FSFM_ZONE:-} CLUSTER=${FSFM_CLUSTER:-} TYPE=${FSFM_TPU_TYPE:-}
IMAGE=${FSFM_IMAGE:-} BASE=${FSFM_BASE:-} WORKLOAD=${FSFM_NAME:-}
SLICES=1 SPOT=() MAX_RESTARTS=100 GRACE=120 COMMIT=HEAD PROGRAM=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --project=*) PROJECT=${1#*=} ;;
        --zone=*) ZONE=${1#*=} ;;
        --cluster=*) CLUSTER=${1#*=} ;;
        --type=*) TYPE=${1#*=} ;;
        --image=*) IMAGE=${1#*=} ;;
        --base=*) BASE=${1#*=} ;;
        --workload=*) WORKLOAD=${1#*=} ;;
        --num-slices=*) SLICES=${1#*=} ;;
        --spot) SPOT=(--spot) ;;
        --max-restarts=*) MAX_RESTARTS=${1#*=} ;;
        --grace=*) GRACE=${1#*=} ;;
        --commit=*) COMMIT=${1#*=} ;;
        --dry-run) DRY_RUN=true ;;
        --help) usage; exit 0 ;;
        --) shift; PROGRAM=("$@"); break ;;
        *) misuse "unknown option $(quoted "$1"); see --help. Pass the program's options after --." ;;
    esac
    shift
done

case $COMMAND in
    --help | help) usage; exit 0 ;;
    image | cluster-create | run | status | stop | cluster-delete) ;;
    *) misuse "unknown command $(quoted "$COMMAND"); see --help." ;;
esac
if [[ $COMMAND != image ]]; then
    need --project "$PROJECT" FSFM_PROJECT
    need --zone "$ZONE" FSFM_ZONE
    need --cluster "$CLUSTER" FSFM_CLUSTER
    name --cluster "$CLUSTER"
fi
case $COMMAND in cluster-create | run) need --type "$TYPE" FSFM_TPU_TYPE ;; esac
case $COMMAND in image | run) need --image "$IMAGE" FSFM_IMAGE ;; esac
if [[ $COMMAND == image ]]; then
    need --base "$BASE" FSFM_BASE
    digest --base "$BASE"
fi
case $COMMAND in
    run | stop)
        need --workload "$WORKLOAD" FSFM_NAME
        name --workload "$WORKLOAD"
        ;;
esac
count --num-slices "$SLICES" 1
count --max-restarts "$MAX_RESTARTS" 0
count --grace "$GRACE" 1
if [[ $COMMAND == run ]]; then
    WORKDIR_ON_BUCKET=true program ${PROGRAM[@]+"${PROGRAM[@]}"}
elif [[ ${#PROGRAM[@]} -gt 0 ]]; then
    misuse "$COMMAND takes no options of the program."
fi
PLACE=("--project=$PROJECT" "--zone=$ZONE" "--cluster=$CLUSTER")

image() {
    local archive=${TMPDIR:-/tmp}/fsfm_jax-image.tar
    execute git -C "$ROOT" archive --format=tar "--output=$archive" "$COMMIT"
    if "$DRY_RUN"; then
        printf 'docker build --file=launch/Dockerfile %s - <%s\n' \
            "$(quoted "--build-arg=BASE=$BASE" "--tag=$IMAGE")" "$(quoted "$archive")"
    else
        docker build --file=launch/Dockerfile "--build-arg=BASE=$BASE" "--tag=$IMAGE" - <"$archive"
    fi
    execute docker push "$IMAGE"
}

run() {
    # xpk runs `(LINE) & PID=$!` and sends SIGTERM to that process; with exec this process is the program itself.
    execute xpk workload create "${PLACE[@]}" "--workload=$WORKLOAD" "--tpu-type=$TYPE" "--num-slices=$SLICES" \
        ${SPOT[@]+"${SPOT[@]}"} "--docker-image=$IMAGE" "--max-restarts=$MAX_RESTARTS" \
        "--restart-on-exit-codes=$RESTART" "--termination-grace-period-seconds=$GRACE" \
        "--command=exec $(quoted python -m fsfm_jax.main --cluster "${PROGRAM[@]}")"
}

case $COMMAND in
    image) image ;;
    cluster-create)
        execute xpk cluster create "${PLACE[@]}" "--tpu-type=$TYPE" "--num-slices=$SLICES" ${SPOT[@]+"${SPOT[@]}"}
        ;;
    run) run ;;
    status) execute xpk workload list "${PLACE[@]}" ;;
    stop) execute xpk workload delete "${PLACE[@]}" "--workload=$WORKLOAD" --force ;;
    cluster-delete) execute xpk cluster delete "${PLACE[@]}" --force ;;
esac
