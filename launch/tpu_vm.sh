#!/usr/bin/env bash
# Training on Cloud TPU VMs by queued resources: one slice, or several (multislice).
#
# The flags of gcloud are from its reference pages "gcloud compute tpus queued-resources create", "delete", "describe",
# "list", "ssh" and "scp". Software versions are from the Cloud TPU page "TPU software versions", states from "Manage
# queued resources". So far this script ran only with a stub of gcloud.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=commands.sh
source "$(dirname "${BASH_SOURCE[0]}")/commands.sh"
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
    cat <<'TEXT'
usage: launch/tpu_vm.sh COMMAND --name=NAME --project=PROJECT --zone=ZONE [OPTION...] [-- PROGRAM-OPTION...]

commands
  create    request the slices
  wait      wait until the slices are active
  setup     copy this checkout at a commit to all workers, and install its environment
  run       start the program on all workers and follow its log; called again, only follow the log
  restart   all of the above, as often as needed, until the program has finished or failed
  status    show the state of the slices, and of the run on each worker
  logs      follow the log of one worker
  stop      tell the program to save and end; keeps the slices
  delete    release the slices

options; those with a variable can also be set in the environment
  --name=NAME             FSFM_NAME      name of the queued resource, its nodes and the run
  --project=PROJECT       FSFM_PROJECT   Google Cloud project
  --zone=ZONE             FSFM_ZONE      zone, such as europe-west4-b
  --type=TYPE             FSFM_TPU_TYPE  TPU type, such as v4-32, v5litepod-16, v5p-32, v6e-16     (create, restart)
  --runtime-version=V     software of the VMs (default: by type)
  --spot                  use spot capacity: cheap, but may be reclaimed at any time
  --node-count=N          number of slices (default 1)
  --create-flag=FLAG      additional flag for `queued-resources create`, such as --create-flag=--internal-ips
  --connect-flag=FLAG     additional flag for `ssh` and `scp`, such as --connect-flag=--tunnel-through-iap
  --commit=COMMIT         commit to run (default HEAD)                              (setup, run, restart)
  --repository=URL        repository to clone instead of copying this checkout
  --logs=gs://FOLDER      copy the logs of all workers to this folder once a minute         (run, restart)
  --node=N, --worker=N    slice and worker of the log (default 0 and 0)                     (logs)
  --max-restarts=N        maximum number of restarts (default 100)                          (restart)
  --poll=SECONDS          time between two queries of the state (default 30)                (wait, restart)
  --dry-run               print the commands, one per line, without executing them
  --help                  print this help

The program is `python -m fsfm_jax.main --cluster PROGRAM-OPTION...`; it needs --config= and --workdir=gs://...
TEXT
}

[[ $# -gt 0 ]] || { usage >&2; exit 2; }
COMMAND=$1
shift
NAME=${FSFM_NAME:-} PROJECT=${FSFM_PROJECT:-} ZONE=${FSFM_ZONE:-} TYPE=${FSFM_TPU_TYPE:-}
VERSION='' SPOT=false NODES=1 COMMIT=HEAD REPOSITORY='' LOGS=- NODE=0 WORKER=0 MAX_RESTARTS=100 POLL=30
CREATE_FLAGS=() CONNECT_FLAGS=() PROGRAM=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --name=*) NAME=${1#*=} ;;
        --project=*) PROJECT=${1#*=} ;;
        --zone=*) ZONE=${1#*=} ;;
        --type=*) TYPE=${1#*=} ;;
        --runtime-version=*) VERSION=${1#*=} ;;
        --spot) SPOT=true ;;
        --node-count=*) NODES=${1#*=} ;;
        --create-flag=--*) CREATE_FLAGS+=("${1#*=}") ;;
        --connect-flag=--*) CONNECT_FLAGS+=("${1#*=}") ;;
        --commit=*) COMMIT=${1#*=} ;;
        --repository=*) REPOSITORY=${1#*=} ;;
        --logs=*) LOGS=${1#*=} ;;
        --node=*) NODE=${1#*=} ;;
        --worker=*) WORKER=${1#*=} ;;
        --max-restarts=*) MAX_RESTARTS=${1#*=} ;;
        --poll=*) POLL=${1#*=} ;;
        --dry-run) DRY_RUN=true ;;
        --help) usage; exit 0 ;;
        --) shift; PROGRAM=("$@"); break ;;
        *) misuse "unknown option $(quoted "$1"); see --help. Pass the program's options after --." ;;
    esac
    shift
done

case $COMMAND in
    --help | help) usage; exit 0 ;;
    create | wait | setup | run | restart | status | logs | stop | delete) ;;
    *) misuse "unknown command $(quoted "$COMMAND"); see --help." ;;
esac
need --name "$NAME" FSFM_NAME
need --project "$PROJECT" FSFM_PROJECT
need --zone "$ZONE" FSFM_ZONE
name --name "$NAME"
count --node-count "$NODES" 1
count --max-restarts "$MAX_RESTARTS" 0
count --poll "$POLL" 0
count --node "$NODE" 0
count --worker "$WORKER" 0
[[ $LOGS == - || $LOGS == gs://?* ]] || misuse "--logs: expected gs://BUCKET/FOLDER, found $(quoted "$LOGS")."
if [[ $COMMAND == create || $COMMAND == restart ]]; then
    need --type "$TYPE" FSFM_TPU_TYPE
    if [[ -z $VERSION ]]; then
        case $TYPE in
            v4-*) VERSION=tpu-ubuntu2204-base ;;
            v5litepod-*) VERSION=v2-alpha-tpuv5-lite ;;
            v5p-*) VERSION=v2-alpha-tpuv5 ;;
            v6e-*) VERSION=v2-alpha-tpuv6e ;;
            *) misuse "--type: expected v4-N, v5litepod-N, v5p-N or v6e-N, found $(quoted "$TYPE"); for other types" \
                "also pass --runtime-version=VERSION." ;;
        esac
    fi
fi
if [[ $COMMAND == run || $COMMAND == restart ]]; then
    WORKDIR_ON_BUCKET=true program ${PROGRAM[@]+"${PROGRAM[@]}"}
elif [[ ${#PROGRAM[@]} -gt 0 ]]; then
    misuse "$COMMAND takes no options of the program."
fi
case $COMMAND in
    setup | run | restart)
        if [[ ! $COMMIT =~ ^[0-9a-f]{40}$ ]]; then
            [[ -z $REPOSITORY ]] || misuse "--commit: with --repository, expected the 40 digits of a commit, found" \
                "$(quoted "$COMMIT")."
            FULL=$(git -C "$ROOT" rev-parse --verify --quiet "$COMMIT^{commit}") ||
                misuse "--commit: this checkout has no commit $(quoted "$COMMIT")."
            COMMIT=$FULL
        fi
        ;;
esac

QUEUE=(gcloud compute tpus queued-resources)
PLACE=("--project=$PROJECT" "--zone=$ZONE")
# A folder per commit in the remote home, so that another commit does not change the files of a running program.
CHECKOUT=fsfm_jax-${COMMIT:0:12}

LOOK=("${QUEUE[@]}" list "${PLACE[@]}" "--filter=name~/queuedResources/$NAME\$" "--format=value(state.state)")

# Set FOUND to the state, empty if there is no such queued resource. Retries bridge short network failures.
look() {
    local tries
    for tries in 1 2 3 4 5 6 7 8 9 10; do
        if FOUND=$("${LOOK[@]}"); then return; fi
        say "gcloud could not report the state of $NAME (attempt $tries of 10)"
        sleep "$POLL"
    done
    exit 1
}

create() {
    local flags=("--accelerator-type=$TYPE" "--runtime-version=$VERSION")
    if [[ $NODES -eq 1 ]]; then
        flags+=("--node-id=$NAME")
    else
        flags+=("--node-count=$NODES" "--node-prefix=$NAME")
    fi
    if "$SPOT"; then flags+=(--spot); fi
    execute "${QUEUE[@]}" create "$NAME" "${PLACE[@]}" "${flags[@]}" ${CREATE_FLAGS[@]+"${CREATE_FLAGS[@]}"}
}

# Return 0 once the slices are active, 1 if they failed or were deleted.
wait_for_slices() {
    if "$DRY_RUN"; then
        execute "${LOOK[@]}"
        return
    fi
    while true; do
        look
        say "$NAME: ${FOUND:-gone}"
        case $FOUND in
            ACTIVE) return 0 ;;
            FAILED | SUSPENDING | SUSPENDED | DELETING | '') return 1 ;;
        esac
        sleep "$POLL"
    done
}

remove() {
    execute "${QUEUE[@]}" delete "$NAME" "${PLACE[@]}" --force --quiet
}

# on NODE WORKER LINE: run a shell line on workers. gcloud splits it at spaces and ssh joins it again, so the output of
# `quoted` arrives unchanged.
on() {
    execute "${QUEUE[@]}" ssh "$NAME" "${PLACE[@]}" "--node=$1" "--worker=$2" \
        ${CONNECT_FLAGS[@]+"${CONNECT_FLAGS[@]}"} "--command=$3"
}

setup() {
    local archive fetch prepare="bash $CHECKOUT/launch/tpu_setup.sh"
    if [[ -n $REPOSITORY ]]; then
        fetch="{ test -e $CHECKOUT/.git || git clone --quiet $(quoted "$REPOSITORY") $CHECKOUT; }"
        on all all "$fetch && git -C $CHECKOUT checkout --quiet --detach $COMMIT && $prepare"
        return
    fi
    archive=${TMPDIR:-/tmp}/$CHECKOUT.tar.gz
    execute git -C "$ROOT" archive --format=tar.gz "--output=$archive" "$COMMIT" || return
    execute "${QUEUE[@]}" scp "$archive" "$NAME:$CHECKOUT.tar.gz" "${PLACE[@]}" --node=all --worker=all \
        ${CONNECT_FLAGS[@]+"${CONNECT_FLAGS[@]}"} || return
    on all all "mkdir -p $CHECKOUT && tar -xzf $CHECKOUT.tar.gz -C $CHECKOUT && $prepare"
}

# The log is followed in another connection, because gcloud serves 64 workers at a time and the program needs all.
start() {
    on all all "cd $CHECKOUT && bash launch/tpu_worker.sh start $(quoted "$NAME" "$LOGS" .venv/bin/python -m \
        fsfm_jax.main --cluster "${PROGRAM[@]}")"
}

worker() {
    on all all "bash fsfm_jax-current/launch/tpu_worker.sh $1 $NAME"
}

# Make the slices active and set up; return 1 if they were reclaimed meanwhile.
ready() {
    if "$DRY_RUN"; then
        create && wait_for_slices && setup
        return
    fi
    look
    case $FOUND in
        FAILED | SUSPENDING | SUSPENDED | DELETING)
            say "$NAME is $FOUND: deleting it and requesting it again"
            # Deletion is refused while the resource is suspending or already being deleted.
            until remove; do sleep "$POLL"; done
            create || exit
            ;;
        '') create || exit ;;
    esac
    wait_for_slices && setup
}

restart() {
    local restarts=0 lost=0 code
    while true; do
        code=0
        { ready && start && worker follow; } || code=$?
        if "$DRY_RUN"; then return; fi
        if [[ $code -eq 0 ]]; then
            say "run $NAME has finished; the slices are kept, release them with: delete"
            return
        fi
        # The state of a reclaimed slice changes a moment later, and its workers may have ended with any code.
        sleep "$POLL"
        look
        if [[ $FOUND == ACTIVE && $code -eq $FAILED ]]; then
            say "the program failed, see its log; the slices are kept, release them with: delete"
            return "$FAILED"
        elif [[ $FOUND == ACTIVE && $code -ne $RESTART ]]; then
            lost=$((lost + 1))
            say "gcloud ended with code $code and the run may still be active; connecting again ($lost of 5)"
            [[ $lost -lt 5 ]] || return "$code"
            continue
        fi
        lost=0
        restarts=$((restarts + 1))
        say "restart $restarts of at most $MAX_RESTARTS: the program ended with code $code, $NAME is ${FOUND:-gone}"
        [[ $restarts -le $MAX_RESTARTS ]] || return "$RESTART"
    done
}

case $COMMAND in
    create) create ;;
    wait) wait_for_slices ;;
    setup) setup ;;
    run)
        start
        worker follow
        ;;
    restart) restart ;;
    status)
        execute "${QUEUE[@]}" describe "$NAME" "${PLACE[@]}" "--format=yaml(name,state)"
        worker status
        ;;
    logs) on "$NODE" "$WORKER" "tail --lines=100 --follow=name fsfm_jax-runs/$NAME/log" ;;
    stop) worker stop ;;
    delete) remove ;;
esac
