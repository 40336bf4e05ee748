"""Stand-ins for gcloud, xpk, srun and the like: they note how they were called, and answer as a test tells them."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Each call is one record. The answer is the first line of the file answers/KEY, which goes once others follow:
# `code N`, or a text to print. No file: nothing is said, and all went well.
RECORD = r"""#!/usr/bin/env bash
{ printf '%s\x1f' "${0##*/}" "$@"; printf '\x1e'; } >>"$STAND_INS/calls"
answer() {
    local file=$STAND_INS/answers/$1 line
    [[ -e $file ]] || return 0
    line=$(head -n 1 "$file")
    [[ $(wc -l <"$file") -eq 1 ]] || sed -i 1d "$file"
    case $line in
        'code '*) exit "${line#code }" ;;
        *) printf '%s\n' "$line" ;;
    esac
}
"""
ANSWER = 'answer "${0##*/}"\n'
# What is asked of gcloud, in a word: its verb, or what its ssh is to do there.
GCLOUD = r"""
key=$4
for word in "$@"; do
    case $word in
        --command=*tpu_setup.sh*) key=setup ;;
        --command=*'tpu_worker.sh start'*) key=start ;;
        --command=*'tpu_worker.sh follow'*) key=follow ;;
    esac
done
answer "$key"
"""
# The same, and a worker behind it: what is copied arrives, and what is said to a shell is done.
WORKER = r"""
export HOME=$STAND_INS/worker
mkdir -p "$HOME"
cd "$HOME"
case $4 in
    scp) cp "$5" "${6#*:}" ;;
    ssh) for word in "$@"; do case $word in --command=*) bash -c "${word#--command=}" || exit ;; esac; done ;;
esac
"""


class StandIns:
    """A folder of programs to be found first, and what they noted."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.programs, self.answers = folder / "programs", folder / "answers"
        self.programs.mkdir()
        self.answers.mkdir()

    def add(self, name: str, body: str = ANSWER) -> None:
        path = self.programs / name
        path.write_text(RECORD + body)
        path.chmod(0o755)

    def answer(self, key: str, *lines: str) -> None:
        (self.answers / key).write_text("".join(f"{line}\n" for line in lines))

    def calls(self) -> list[list[str]]:
        """The arguments of each call, the program's name first."""
        file = self.folder / "calls"
        records = file.read_text().split("\x1e")[:-1] if file.exists() else []
        return [record.split("\x1f")[:-1] for record in records]

    def environment(self, **variables: str) -> dict[str, str]:
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FSFM_", "SLURM_"))}
        return kept | {"PATH": path, "STAND_INS": str(self.folder), "TMPDIR": str(self.folder)} | variables

    def run(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", ROOT / "launch" / script, *arguments],
            capture_output=True, text=True, timeout=60, cwd=ROOT, env=self.environment(**variables),
        )  # fmt: skip
