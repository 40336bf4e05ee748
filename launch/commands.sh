# shellcheck shell=bash
# What the scripts of this folder share: saying what is wrong, printing or executing a command, checking names.

# The program was told to stop, has saved, and wants to be started again: EX_TEMPFAIL of sysexits.h.
export RESTART=75
# The program failed, whatever its own code was: EX_SOFTWARE. Set apart from the codes of ssh and gcloud themselves.
export FAILED=70

DRY_RUN=false

# Wrong use: one sentence, exit code 2.
misuse() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 2
}

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# One line that any POSIX shell reads back as exactly these arguments. Not printf %q: what it writes for a line break is
# read by bash alone, and what it writes for two shells in a row is read by nobody.
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

# Runs a command, or prints it when --dry-run was given.
execute() {
    if "$DRY_RUN"; then
        quoted "$@"
        printf '\n'
    else
        "$@"
    fi
}

# need FLAG VALUE VARIABLE: a value that must be there.
need() {
    [[ -n $2 ]] || misuse "$1=VALUE is missing (or $3 in the environment)."
}

# name FLAG VALUE: what Google Cloud takes as the name of a resource.
name() {
    [[ $2 =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
        misuse "$1: expected small letters, digits and dashes, at most 40, a letter first; found $(quoted "$2")."
}

# digest FLAG VALUE: an image that cannot become another one.
digest() {
    [[ $2 =~ ^[^@[:space:]]+@sha256:[0-9a-f]{64}$ ]] ||
        misuse "$1: expected an image by its digest, NAME@sha256:DIGITS; found $(quoted "$2")."
}

# count FLAG VALUE LEAST: a whole number.
count() {
    [[ $2 =~ ^(0|[1-9][0-9]{0,8})$ && $2 -ge $3 ]] ||
        misuse "$1: expected a whole number of at least $3, found $(quoted "$2")."
}

# program ARGUMENT...: the program's own flags. With WORKDIR_ON_BUCKET=true, the folder must outlive the machines.
program() {
    local argument config='' workdir=''
    for argument in "$@"; do
        case $argument in
            --config=?*) config=$argument ;;
            --workdir=?*) workdir=${argument#--workdir=} ;;
            --cluster*) misuse "leave out $argument: the script adds it where there are several hosts." ;;
            --*) ;;
            *) misuse "the program takes options spelt --name=value, found $(quoted "$argument")." ;;
        esac
        [[ $argument != *$'\n'* ]] || misuse "found an option with a line break: $(quoted "$argument")."
    done
    [[ -n $config ]] || misuse "--config=FILE is missing; the program's options come after a lone --."
    [[ -n $workdir ]] || misuse "--workdir=FOLDER is missing; the program's options come after a lone --."
    if [[ ${WORKDIR_ON_BUCKET:-false} == true && $workdir != gs://?* ]]; then
        misuse "--workdir: expected gs://BUCKET/FOLDER, since a reclaimed machine takes its disk along; found" \
            "$(quoted "$workdir")."
    fi
}

# await PID: waits for a process of ours through signals that we trap; CODE is how it ended.
await() {
    local last
    while true; do
        CODE=0
        wait "$1" || CODE=$?
        # Above 128 the process died of a signal, or it was we who got one and the process goes on.
        [[ $CODE -gt 128 ]] || return 0
        kill -0 "$1" 2>/dev/null || break
    done
    # It may have ended of itself just after our signal; 127 says that its end was read above.
    last=0
    wait "$1" 2>/dev/null || last=$?
    [[ $last -eq 127 ]] || CODE=$last
}
