# shellcheck shell=bash
# Functions shared by the scripts of this folder: reporting errors, printing or executing a command, checking names.

# Exit code of a program that was told to stop, has saved and asks for a restart: EX_TEMPFAIL of sysexits.h.
export RESTART=75
# Exit code for every failure of the program: EX_SOFTWARE. It differs from the codes of ssh and gcloud.
export FAILED=70

DRY_RUN=false

# misuse MESSAGE: print a usage error and exit with code 2.
misuse() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 2
}

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# Print one line that any POSIX shell reads back as exactly these arguments. printf %q is not suitable: only bash
# understands its form of a line break, and quoting twice for two shells in a row does not work.
quoted() {
    local word line='' quote="'\\''"
    for word in "$@"; do
        if [[ ! $word =~ ^[-A-Za-z0-9_./:=,@%+]+$ ]]; then
            word="'${word//\'/$quote}'"
        fi
        line+="$word "
    done
    printf '%s' "${line% }"
}

# Run a command, or print it with --dry-run.
execute() {
    if "$DRY_RUN"; then
        quoted "$@"
        printf '\n'
    else
        "$@"
    fi
}

# need FLAG VALUE VARIABLE: check that a required value is set.
need() {
    [[ -n $2 ]] || misuse "$1 is missing: pass $1=VALUE or set $3 in the environment."
}

# name FLAG VALUE: check the name of a Google Cloud resource.
name() {
    [[ $2 =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
        misuse "$1: expected at most 40 lower-case letters, digits and dashes, a letter first; found $(quoted "$2")."
}

# digest FLAG VALUE: check that an image is pinned by its digest.
digest() {
    [[ $2 =~ ^[^@[:space:]]+@sha256:[0-9a-f]{64}$ ]] ||
        misuse "$1: expected an image by its digest, NAME@sha256:DIGITS; found $(quoted "$2")."
}

# count FLAG VALUE LEAST: check a whole number.
count() {
    [[ $2 =~ ^(0|[1-9][0-9]{0,8})$ && $2 -ge $3 ]] ||
        misuse "$1: expected a whole number of at least $3, found $(quoted "$2")."
}

# program ARGUMENT...: check the program's own flags. With WORKDIR_ON_BUCKET=true the folder must outlive the machines.
program() {
    local argument config='' workdir=''
    for argument in "$@"; do
        case $argument in
            --config=?*) config=$argument ;;
            --workdir=?*) workdir=${argument#--workdir=} ;;
            --cluster*) misuse "leave out $argument: the script adds it for several hosts." ;;
            --*) ;;
            *) misuse "program options: expected --name=value, found $(quoted "$argument")." ;;
        esac
        [[ $argument != *$'\n'* ]] || misuse "program options: expected no line break, found $(quoted "$argument")."
    done
    [[ -n $config ]] || misuse "--config=FILE is missing; pass the program's options after --."
    [[ -n $workdir ]] || misuse "--workdir=FOLDER is missing; pass the program's options after --."
    if [[ ${WORKDIR_ON_BUCKET:-false} == true && $workdir != gs://?* ]]; then
        misuse "--workdir: expected gs://BUCKET/FOLDER, since the disk of a reclaimed machine is lost; found" \
            "$(quoted "$workdir")."
    fi
}

# await PID: wait for a child process and continue after trapped signals; sets CODE to its exit code.
await() {
    local last
    while true; do
        CODE=0
        wait "$1" || CODE=$?
        # A code above 128 means that a signal ended the process, or that this shell got one and the process still runs.
        [[ $CODE -gt 128 ]] || return 0
        kill -0 "$1" 2>/dev/null || break
    done
    # The process may have ended just after the signal; 127 means that its exit code was read above.
    last=0
    wait "$1" 2>/dev/null || last=$?
    [[ $last -eq 127 ]] || CODE=$last
}
