#!/usr/bin/env bash
# Training on TPUs of Google Kubernetes Engine, through xpk.
#
# The flags are those of the parsers of xpk 1.16.0 (`xpk cluster create --help`, `xpk workload create --help`). Its
# --restart-on-exit-codes adds to 42 and 127-255; any other code ends the workload. Run only with a stand-in for xpk.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=commands.sh
source "$(dirname "${BASH_SOURCE[0]}")/commands.sh"
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
    cat <<'TEXT'
usage: launch/gke_xpk.sh COMMAND --project=PROJECT --zone=ZONE --cluster=CLUSTER [OPTION...] [-- PROGRAM-OPTION...]

commands
  image            build the image of this checkout at a commit, by docker, and push it
  cluster-create   a cluster with node pools of TPUs; may be called again to change their number
  run              start the program on all hosts of all slices; the cluster starts it again when it asks for that
  status           the workloads of the cluster
  stop             delete the workload: the program has the grace period to save; the same `run` goes on
  cluster-delete   give everything back

options; those with a variable may stand in the environment instead
  --project=PROJECT   FSFM_PROJECT   project of Google Cloud
  --zone=ZONE         FSFM_ZONE      such as europe-west4-b
  --cluster=CLUSTER   FSFM_CLUSTER   name of the cluster
  --type=TYPE         FSFM_TPU_TYPE  such as v4-32, v5litepod-16, v5p-32, v6e-16   (cluster-create, run)
  --image=IMAGE       FSFM_IMAGE     such as REGION-docker.pkg.dev/PROJECT/REPOSITORY/fsfm_jax:COMMIT     (image, run)
  --base=IMAGE        FSFM_BASE      Python 3.11 that the image is built on, python@sha256:...          (image)
  --workload=NAME     FSFM_NAME      of the run                                                            (run, stop)
  --num-slices=N      so many slices of this type (default 1)                                 (cluster-create, run)
  --spot              spot capacity                                                           (cluster-create, run)
  --max-restarts=N    so often at most (default 100)                                          (run)
  --grace=SECONDS     to save in when told to stop (default 120; spot nodes give less)         (run)
  --commit=COMMIT     what to put into the image (default HEAD)                               (image)
  --dry-run           print the commands, one a line, and execute nothing
  --help

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
        *) misuse "no option $(quoted "$1"); --help lists them. Those of the program come after a lone --." ;;
    esac
    shift
done

case $COMMAND in
    --help | help) usage; exit 0 ;;
    image | cluster-create | run | status | stop | cluster-delete) ;;
    *) misuse "no command $(quoted "$COMMAND"); --help lists them." ;;
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
    # xpk puts the line into `(LINE) & PID=$!` and sends that process SIGTERM: with exec, it is the program itself.
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
