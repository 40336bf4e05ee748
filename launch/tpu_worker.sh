#!/usr/bin/env bash
# Start the program on a worker of a TPU slice so that it outlives the connection, and report its exit code.
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
            misuse "run $RUN is active with other options: $(<"$FOLDER/command"). Stop it, or use another name."
        say "run $RUN is already active"
        return
    fi
    printf '%s\n' "$command" >"$FOLDER/command"
    rm -f "$FOLDER/code" "$FOLDER/stopped" "$FOLDER/program"
    # A new session, so that the end of the connection does not end the program.
    setsid bash "$SELF" supervise "$RUN" "$LOGS" "$@" </dev/null >>"$FOLDER/log" 2>&1 &
    printf '%s\n' $! >"$FOLDER/supervisor"
    say "run $RUN has started"
}

upload() {
    gcloud storage cp --quiet "$FOLDER/log" "$LOGS/$RUN-$(hostname)-$BEGAN.log" >/dev/null 2>&1 ||
        say "could not copy the log to $LOGS; check the permissions of the bucket"
}

supervise() {
    # A time stamp distinguishes logs, because the next slice may have the same host names.
    BEGAN=$(date -u +%Y%m%dT%H%M%SZ)
    local program uploader=''
    # At shutdown all processes get SIGTERM. The program saves, and the supervisor must survive to record the exit code.
    # It does not forward the signal, because a second SIGTERM kills the program.
    trap : TERM
    "$@" &
    program=$!
    printf '%s\n' "$program" >"$FOLDER/program"
    if [[ $LOGS != - ]]; then
        # $$ is the supervisor also in this subshell, so the loop ends with it.
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
    [[ -e $FOLDER/supervisor ]] || misuse "run $RUN was never started on this worker."
    if alive; then
        while alive; do sleep 0.2; done &
        tail --lines=100 --follow --sleep-interval=0.2 --pid=$! "$FOLDER/log" | sed --unbuffered "s/^/$(hostname): /"
    else
        tail --lines=100 "$FOLDER/log" | sed "s/^/$(hostname): /"
    fi
    if [[ ! -e $FOLDER/code ]]; then
        say "run $RUN was killed on $(hostname) and left no exit code"
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
        say "told run $RUN to save and end"
    else
        say "run $RUN is not active on this worker"
    fi
}

status() {
    if alive; then
        say "run $RUN is active: $(<"$FOLDER/command")"
    elif [[ -e $FOLDER/code ]]; then
        say "run $RUN ended with exit code $(<"$FOLDER/code")"
    else
        say "run $RUN was never started on this worker, or was killed"
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
