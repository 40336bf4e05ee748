#!/usr/bin/env bash
# On a worker of a TPU slice: starts the program so that it outlives the connection, and says how it ended.
# `tpu_vm.sh` calls it: tpu_worker.sh start RUN LOGS PROGRAM... | follow RUN | stop RUN | status RUN
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=commands.sh
source "$(dirname "${BASH_SOURCE[0]}")/commands.sh"
SELF=$(realpath "${BASH_SOURCE[0]}")

[[ $# -ge 2 ]] || misuse "expected start, follow, stop or status, then the name of a run."
COMMAND=$1 RUN=$2
FOLDER=$HOME/fsfm_jax-runs/$RUN
mkdir -p "$FOLDER"

alive() {
    [[ -e $FOLDER/supervisor && ! -e $FOLDER/code ]] && kill -0 "$(<"$FOLDER/supervisor")" 2>/dev/null
}

start() {
    local command
    command=$(quoted "$@")
    if alive; then
        [[ $command == "$(<"$FOLDER/command")" ]] ||
            misuse "run $RUN goes on with other options: $(<"$FOLDER/command"). Stop it, or take another name."
        say "run $RUN goes on already"
        return
    fi
    printf '%s\n' "$command" >"$FOLDER/command"
    rm -f "$FOLDER/code" "$FOLDER/stopped" "$FOLDER/program"
    # A session of its own: the end of the connection is none of its business.
    setsid bash "$SELF" supervise "$RUN" "$LOGS" "$@" </dev/null >>"$FOLDER/log" 2>&1 &
    printf '%s\n' $! >"$FOLDER/supervisor"
    say "run $RUN began"
}

upload() {
    gcloud storage cp --quiet "$FOLDER/log" "$LOGS/$RUN-$(hostname)-$BEGAN.log" >/dev/null 2>&1 ||
        say "the log could not be copied to $LOGS"
}

supervise() {
    # The next slice may have the same host names.
    BEGAN=$(date -u +%Y%m%dT%H%M%SZ)
    local program uploader=''
    # When the machine goes down, everything on it gets SIGTERM: the program saves meanwhile, and somebody must note
    # how it ended. Passed on, the signal would reach the program twice, and the second one kills.
    trap : TERM
    "$@" &
    program=$!
    printf '%s\n' "$program" >"$FOLDER/program"
    if [[ $LOGS != - ]]; then
        # $$ is the supervisor, also in here: killed, it takes this along.
        while sleep 60 && kill -0 $$ 2>/dev/null; do upload; done &
        uploader=$!
    fi
    await "$program"
    printf '%s\n' "$CODE" >"$FOLDER/code.part"
    mv "$FOLDER/code.part" "$FOLDER/code"
    if [[ -n $uploader ]]; then
        kill "$uploader" 2>/dev/null || true
        upload
    fi
}

follow() {
    local code
    [[ -e $FOLDER/supervisor ]] || misuse "run $RUN was never started here."
    if alive; then
        while alive; do sleep 0.2; done &
        tail --lines=100 --follow --sleep-interval=0.2 --pid=$! "$FOLDER/log" | sed --unbuffered "s/^/$(hostname): /"
    else
        tail --lines=100 "$FOLDER/log" | sed "s/^/$(hostname): /"
    fi
    if [[ ! -e $FOLDER/code ]]; then
        say "run $RUN ended without a word on $(hostname): killed"
        exit "$FAILED"
    fi
    code=$(<"$FOLDER/code")
    [[ $code -ne $RESTART || ! -e $FOLDER/stopped ]] || code=0
    say "run $RUN ended on $(hostname) with exit code $code"
    case $code in
        0) ;;
        "$RESTART") exit "$RESTART" ;;
        *) exit "$FAILED" ;;
    esac
}

stop() {
    if alive && [[ -e $FOLDER/program ]]; then
        touch "$FOLDER/stopped"
        kill -TERM "$(<"$FOLDER/program")"
        say "run $RUN was told to save and end"
    else
        say "run $RUN does not go on here"
    fi
}

status() {
    if alive; then
        say "run $RUN goes on: $(<"$FOLDER/command")"
    elif [[ -e $FOLDER/code ]]; then
        say "run $RUN ended with exit code $(<"$FOLDER/code")"
    else
        say "run $RUN was never started here, or was killed"
    fi
}

case $COMMAND in
    start | supervise)
        [[ $# -ge 4 ]] || misuse "$COMMAND: expected RUN LOGS PROGRAM..."
        LOGS=$3
        "$COMMAND" "${@:4}"
        ;;
    follow | stop | status) "$COMMAND" ;;
    *) misuse "expected start, follow, stop or status, found $(quoted "$COMMAND")." ;;
esac
