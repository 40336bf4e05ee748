#!/usr/bin/env bash
# Training on Cloud TPU VMs by queued resources: one slice, or several (multislice).
#
# The flags of gcloud are those of its reference pages "gcloud compute tpus queued-resources create", "delete",
# "describe", "list", "ssh" and "scp"; the software versions those of the Cloud TPU page "TPU software versions"; what
# states there are is said on "Manage queued resources". Run only with a stand-in for gcloud.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=commands.sh
source "$(dirname "${BASH_SOURCE[0]}")/commands.sh"
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

usage() {
    cat <<'TEXT'
usage: launch/tpu_vm.sh COMMAND --name=NAME --project=PROJECT --zone=ZONE [OPTION...] [-- PROGRAM-OPTION...]

commands
  create    ask for the slice, or slices
  wait      wait until they are there
  setup     bring this checkout at a commit, and its environment, to all workers
  run       start the program on all workers and follow it; called again, follow it again
  restart   all of the above, as often as needed, until the program ends by itself
  status    state of the slices, and of the run on each worker
  logs      the last lines of one worker's log, and what follows
  stop      tell the program to save and end; keeps the slices
  delete    give the slices back

options; those with a variable may stand in the environment instead
  --name=NAME             FSFM_NAME      of the queued resource, of its nodes and of the run
  --project=PROJECT       FSFM_PROJECT   project of Google Cloud
  --zone=ZONE             FSFM_ZONE      such as europe-west4-b
  --type=TYPE             FSFM_TPU_TYPE  such as v4-32, v5litepod-16, v5p-32, v6e-16     (create, restart)
  --runtime-version=V     software of the VMs; unless given, the one that belongs to the type
  --spot                  spot capacity: cheap, and may be reclaimed at any time
  --node-count=N          so many slices of this type (default 1)
  --create-flag=FLAG      one more flag for `queued-resources create`, such as --create-flag=--internal-ips
  --connect-flag=FLAG     one more flag for `ssh` and `scp`, such as --connect-flag=--tunnel-through-iap
  --commit=COMMIT         what to run (default HEAD)                                (setup, run, restart)
  --repository=URL        clone it from there instead of copying it from here
  --logs=gs://FOLDER      keep each worker's log there, a minute behind at most             (run, restart)
  --node=N, --worker=N    whose log to show (default 0 and 0)                               (logs)
  --max-restarts=N        so often at most (default 100)                                    (restart)
  --poll=SECONDS          between two looks at the state (default 30)                       (wait, restart)
  --dry-run               print the commands, one a line, and execute nothing
  --help

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
        *) misuse "no option $(quoted "$1"); --help lists them. Those of the program come after a lone --." ;;
    esac
    shift
done

case $COMMAND in
    --help | help) usage; exit 0 ;;
    create | wait | setup | run | restart | status | logs | stop | delete) ;;
    *) misuse "no command $(quoted "$COMMAND"); --help lists them." ;;
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
            *) misuse "--type: expected v4-N, v5litepod-N, v5p-N or v6e-N, found $(quoted "$TYPE"); for another, name" \
                "its software with --runtime-version=." ;;
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
# A folder per commit in the home of the user there: another commit never changes the files of a run that goes on.
CHECKOUT=fsfm_jax-${COMMIT:0:12}

LOOK=("${QUEUE[@]}" list "${PLACE[@]}" "--filter=name~/queuedResources/$NAME\$" "--format=value(state.state)")

# FOUND is the state, empty if there is no such queued resource. The loop must survive a network that is away for a
# while.
look() {
    local tries
    for tries in 1 2 3 4 5 6 7 8 9 10; do
        if FOUND=$("${LOOK[@]}"); then return; fi
        say "gcloud could not tell the state of $NAME ($tries of 10)"
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

# 0 once the slices are there, 1 if they will not come.
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

# on NODE WORKER LINE: a line for the shell there. gcloud cuts it at its spaces and ssh puts them back, so what `quoted`
# wrote arrives as it was.
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

# Not followed in the same connection: gcloud serves 64 workers at a time, and the program needs all of them.
start() {
    on all all "cd $CHECKOUT && bash launch/tpu_worker.sh start $(quoted "$NAME" "$LOGS" .venv/bin/python -m \
        fsfm_jax.main --cluster "${PROGRAM[@]}")"
}

worker() {
    on all all "bash fsfm_jax-current/launch/tpu_worker.sh $1 $NAME"
}

# Slices that are there, with the checkout on them; 1 if they went again meanwhile.
ready() {
    if "$DRY_RUN"; then
        create && wait_for_slices && setup
        return
    fi
    look
    case $FOUND in
        FAILED | SUSPENDING | SUSPENDED | DELETING)
            say "$NAME is $FOUND: it is deleted and asked for again"
            # Refused while it is on its way out.
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
            say "run $NAME is finished; the slices are kept"
            return
        fi
        # A slice that is reclaimed says so a moment later, and its workers may have ended in any way.
        sleep "$POLL"
        look
        if [[ $FOUND == ACTIVE && $code -eq $FAILED ]]; then
            say "the program failed, its log says why; the slices are kept"
            return "$FAILED"
        elif [[ $FOUND == ACTIVE && $code -ne $RESTART ]]; then
            lost=$((lost + 1))
            say "gcloud ended with $code, so the run may go on there ($lost of 5)"
            [[ $lost -lt 5 ]] || return "$code"
            continue
        fi
        lost=0
        restarts=$((restarts + 1))
        say "start $restarts of at most $MAX_RESTARTS again: the program ended with $code, $NAME is ${FOUND:-gone}"
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
