#!/usr/bin/env bash
# Training on the GPUs of one machine: one process for all GPUs, restarted as long as it asks for a restart.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=commands.sh
source "$(dirname "${BASH_SOURCE[0]}")/commands.sh"

usage() {
    cat <<'TEXT'
usage: launch/gpu.sh [OPTION...] -- PROGRAM-OPTION...

  --python=PYTHON    Python with requirements/cuda.lock installed (default .venv/bin/python of this checkout)
  --gpus=0,1         GPUs to use (default all)
  --max-restarts=N   maximum number of restarts (default 100)
  --dry-run          print the command without executing it
  --help             print this help

The program is `python -m fsfm_jax.main PROGRAM-OPTION...`; it needs --config= and --workdir=.
Relative paths start at the checkout.
After Ctrl-C, or SIGTERM to this script, the program saves and the loop ends.
TEXT
}

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PYTHON=$ROOT/.venv/bin/python GPUS='' MAX_RESTARTS=100 PROGRAM=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --python=*) PYTHON=${1#*=} ;;
        --gpus=*) GPUS=${1#*=} ;;
        --max-restarts=*) MAX_RESTARTS=${1#*=} ;;
        --dry-run) DRY_RUN=true ;;
        --help) usage; exit 0 ;;
        --) shift; PROGRAM=("$@"); break ;;
        *) misuse "unknown option $(quoted "$1"); see --help. Pass the program's options after --." ;;
    esac
    shift
done
count --max-restarts "$MAX_RESTARTS" 0
[[ -z $GPUS || $GPUS =~ ^[0-9]+(,[0-9]+)*$ ]] || misuse "--gpus: expected numbers such as 0,1, found $(quoted "$GPUS")."
program ${PROGRAM[@]+"${PROGRAM[@]}"}

LINE=(env "--chdir=$ROOT" ${GPUS:+"CUDA_VISIBLE_DEVICES=$GPUS"} "$PYTHON" -m fsfm_jax.main "${PROGRAM[@]}")
if "$DRY_RUN"; then
    execute "${LINE[@]}"
    exit
fi

# The program runs in the background, so that this script handles signals at once. Without job control (-m) a background
# process ignores Ctrl-C.
set -m
TOLD=false
told() {
    TOLD=true
    kill "-$1" "$CHILD" 2>/dev/null || true
}
trap 'told TERM' TERM
trap 'told INT' INT

restarts=0
while true; do
    "${LINE[@]}" &
    CHILD=$!
    await "$CHILD"
    if [[ $CODE -ne $RESTART ]] || "$TOLD"; then exit "$CODE"; fi
    restarts=$((restarts + 1))
    say "restarting the program as it asked ($restarts of at most $MAX_RESTARTS)"
    [[ $restarts -le $MAX_RESTARTS ]] || exit "$RESTART"
done
