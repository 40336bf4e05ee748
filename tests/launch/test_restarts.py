"""The loops that start a run again, and what lets it outlive a connection: executed, with stand-ins for the clouds."""

import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest
from stand_ins import GCLOUD, ROOT, WORKER, StandIns

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BASE = f"python@sha256:{'0123456789abcdef' * 4}"
RESTART = [
    "restart", "--name=n", "--project=p", "--zone=z", "--type=v6e-8", "--spot", "--poll=0", f"--commit={COMMIT}",
    "--repository=u", "--", "--config=c", "--workdir=gs://b/w",
]  # fmt: skip
ROUND = ["setup", "start", "follow"]


@pytest.fixture
def stand_ins(tmp_path):
    return StandIns(tmp_path)


def verbs(stand_ins: StandIns) -> list[str]:
    """What gcloud was asked, without the looks at the state."""
    said = []
    for call in (call for call in stand_ins.calls() if call[0] == "gcloud"):
        line = next((word for word in call if word.startswith("--command=")), "")
        verb = "setup" if "tpu_setup" in line else line.split("tpu_worker.sh ")[1].split()[0] if line else call[4]
        said.append(verb)
    return [verb for verb in said if verb != "list"]


@pytest.mark.parametrize(
    ("states", "follows", "expected", "code"),
    [
        # Nothing there yet: asked for, waited for, and the program ends by itself.
        (["", "PROVISIONING", "ACTIVE"], ["code 0"], ["create", *ROUND], 0),
        # Told to stop, while the slice stays.
        (["ACTIVE"], ["code 75", "code 75", "code 0"], [*ROUND, *ROUND, *ROUND], 0),
        # Reclaimed: ready, waited for, and gone after the program ended with 75, or the connection broke, or it failed.
        *(
            (["ACTIVE", "ACTIVE", "SUSPENDING", "SUSPENDED", "WAITING_FOR_RESOURCES", "ACTIVE"], [end, "code 0"],
             [*ROUND, "delete", "create", *ROUND], 0)
            for end in ("code 75", "code 255", "code 70")
        ),
        # Gone for good, by somebody's hand.
        (["ACTIVE", "ACTIVE", "", "", "ACTIVE"], ["code 255", "code 0"], [*ROUND, "create", *ROUND], 0),
        # Reclaimed before it was ever there.
        (["", "FAILED", "FAILED", "FAILED", "ACTIVE"], ["code 0"], ["create", "delete", "create", *ROUND], 0),
        # The program failed.
        (["ACTIVE"], ["code 70"], ROUND, 70),
        # The connection broke, and the run goes on: followed again, five times in a row at most.
        (["ACTIVE"], ["code 255", "code 1", "code 0"], [*ROUND, *ROUND, *ROUND], 0),
        (["ACTIVE"], ["code 255"], [*ROUND * 5], 255),
    ],
)  # fmt: skip
def test_restart_on_tpus(stand_ins, states, follows, expected, code):
    stand_ins.add("gcloud", GCLOUD)
    stand_ins.answer("list", *states)
    stand_ins.answer("follow", *follows)
    ran = stand_ins.run("tpu_vm.sh", *RESTART)
    assert (verbs(stand_ins), ran.returncode) == (expected, code), ran.stderr


def test_no_more_restarts_than_said(stand_ins):
    stand_ins.add("gcloud", GCLOUD)
    stand_ins.answer("list", "ACTIVE")
    stand_ins.answer("follow", "code 75")
    ran = stand_ins.run("tpu_vm.sh", "restart", "--max-restarts=2", *RESTART[1:])
    assert (verbs(stand_ins), ran.returncode) == (ROUND * 3, 75)
    assert "at most 2" in ran.stderr


def test_gcloud_without_a_word_on_the_state(stand_ins):
    """Nothing is created or deleted on a guess."""
    stand_ins.add("gcloud", GCLOUD)
    stand_ins.answer("list", "code 1")
    ran = stand_ins.run("tpu_vm.sh", *RESTART)
    assert (verbs(stand_ins), ran.returncode) == ([], 1)
    assert "could not report the state of n (attempt 10 of 10)" in ran.stderr


PYTHON3 = r"""
mkdir -p .uv/bin
cp "$STAND_INS/programs/uv" .uv/bin/uv
"""
UV = r"""
if [[ $1 == venv ]]; then
    mkdir -p .venv/bin
    cp "$STAND_INS/programs/program" .venv/bin/python
fi
"""
GIT = r"""
for word in "$@"; do case $word in --output=*) tar -czf "${word#--output=}" -C "$2" launch ;; esac; done
"""


def test_a_whole_restart_with_a_worker_behind_it(stand_ins):
    """Copies this checkout, makes the environment, starts the program twice, with the words that the user typed."""
    for name, body in {"gcloud": GCLOUD + WORKER, "python3": PYTHON3, "uv": UV, "git": GIT}.items():
        stand_ins.add(name, body)
    stand_ins.add("program", 'answer program\necho "it\'s done"\n')
    stand_ins.answer("list", "", "ACTIVE")
    stand_ins.answer("program", "code 75", "trained")
    awkward = """--workdir=gs://b/it's a  "run" $(x) *"""
    arguments = [word for word in RESTART[:-1] if not word.startswith("--repository")]
    ran = stand_ins.run("tpu_vm.sh", *arguments, awkward)
    assert ran.returncode == 0, ran.stderr
    called = [call for call in stand_ins.calls() if call[0] not in {"gcloud", "git"}]
    program = ["python", "-m", "fsfm_jax.main", "--cluster", "--config=c", awkward]
    assert called == [
        ["python3", "-m", "pip", "install", "--quiet", "--upgrade", "--target=.uv", "uv==0.13.9"],
        ["uv", "venv", "--quiet", "--clear", "--python=3.11", ".venv"],
        ["uv", "pip", "install", "--quiet", "--python=.venv/bin/python", "--require-hashes",
         "--requirement=requirements/tpu.lock"],
        program,
        program,
    ]
    assert ran.stdout.endswith(f"{os.uname().nodename}: trained\n{os.uname().nodename}: it's done\n")
    assert verbs(stand_ins) == ["create", "scp", *ROUND, "scp", *ROUND]


@pytest.mark.parametrize(("code", "seen"), [(0, 0), (75, 75), (1, 70), (134, 70)])
def test_how_a_run_on_a_worker_ended(stand_ins, code, seen):
    def worker(*arguments: str) -> subprocess.CompletedProcess[str]:
        return stand_ins.run("tpu_worker.sh", *arguments, HOME=str(stand_ins.folder))

    assert worker("start", "n", "-", "bash", "-c", f"exit {code}").returncode == 0
    ran = worker("follow", "n")
    assert ran.returncode == seen
    assert f"ended on {os.uname().nodename} with exit code {code}" in ran.stderr
    assert f"ended with exit code {code}" in worker("status", "n").stderr


# Goes on until it hears a signal; not for ever, so that a test that fails leaves nothing behind.
WAITS = "echo up; for _ in {1..500}; do sleep 0.02; done; exit 9"
# Saves when it is told to, and dies of a second signal, as the program does.
SAVES = f'trap "trap - TERM; sleep 0.5; exit 75" TERM; {WAITS}'


def appears(file: Path, text: str) -> None:
    for _ in range(500):
        if file.exists() and text in file.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"{file} never said {text!r}")


def test_a_run_on_a_worker_outlives_its_connection_and_saves_when_the_machine_goes_down(stand_ins):
    home = stand_ins.folder
    folder = home / "fsfm_jax-runs" / "n"

    def worker(*arguments: str) -> subprocess.CompletedProcess[str]:
        return stand_ins.run("tpu_worker.sh", *arguments, HOME=str(home))

    stand_ins.add("gcloud")
    start = ["start", "n", "gs://b/logs", "bash", "-c", SAVES]
    worker(*start)
    appears(folder / "log", "up")
    supervisor = int((folder / "supervisor").read_text())
    assert os.getsid(supervisor) == supervisor
    assert "is already active" in worker(*start).stderr
    other = worker(*start[:-1], "exit 3")
    assert other.returncode == 2 and "is active with other options" in other.stderr
    # The machine goes down: everything hears of it, the supervisor too.
    for name in ("supervisor", "program"):
        os.kill(int((folder / name).read_text()), signal.SIGTERM)
    time.sleep(0.1)  # the supervisor alone hears a second one, while the program saves
    os.kill(supervisor, signal.SIGTERM)
    assert worker("follow", "n").returncode == 75
    appears(home / "calls", "gs://b/logs/n-")

    # Told by the user: the same end, but nobody is to start it again.
    worker(*start)
    appears(folder / "log", "up\nup")
    assert worker("stop", "n").returncode == 0
    assert worker("follow", "n").returncode == 0
    assert "is not active on this worker" in worker("stop", "n").stderr
    # Killed together with its supervisor: no code, and no success.
    worker("start", "n", "-", *start[3:])
    appears(folder / "log", "up\nup\nup")
    os.kill(int((folder / "supervisor").read_text()), signal.SIGKILL)
    os.kill(int((folder / "program").read_text()), signal.SIGKILL)
    assert worker("follow", "n").returncode == 70


JOB = {
    "SLURM_JOB_ID": "17", "SLURM_JOB_NUM_NODES": "2", "SLURM_GPUS_ON_NODE": "4", "SLURM_CPUS_ON_NODE": "8",
}  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "count", "requeued", "code"),
    [("code 75", "0", True, 0), ("code 75", "3", False, 75), ("code 0", "0", False, 0), ("code 1", "0", False, 1)],
)
def test_a_slurm_job_is_queued_again(stand_ins, answer, count, requeued, code):
    stand_ins.add("srun")
    stand_ins.add("scontrol")
    stand_ins.answer("srun", answer)
    arguments = ["--max-restarts=3", "--", "--config=c", "--workdir=w"]
    ran = stand_ins.run("slurm_gpu.sbatch", *arguments, **JOB, SLURM_RESTART_COUNT=count)
    assert ran.returncode == code
    srun, *rest = stand_ins.calls()
    assert srun[:2] == ["srun", "--nodes=2"]
    assert rest == ([["scontrol", "requeue", "Incomplete", "17"]] if requeued else [])


@pytest.mark.parametrize(
    ("answers", "times", "code"),
    [(["code 75", "code 75", "code 0"], 3, 0), (["code 0"], 1, 0), (["code 1"], 1, 1), (["code 75"], 4, 75)],
)
def test_gpus_of_one_machine(stand_ins, answers, times, code):
    stand_ins.add("program", "answer program\n")
    stand_ins.answer("program", *answers)
    arguments = [f"--python={stand_ins.programs}/program", "--max-restarts=3", "--", "--config=c", "--workdir=w w"]
    ran = stand_ins.run("gpu.sh", *arguments)
    assert ran.returncode == code
    assert stand_ins.calls() == [["program", "-m", "fsfm_jax.main", "--config=c", "--workdir=w w"]] * times


@pytest.fixture
def interruptible():
    """Programs that are started inside can be interrupted, also where the tests run in the background.

    A shell lets what it starts there ignore Ctrl-C, their children inherit that, and no script can undo it.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 0)])
def test_gpus_of_one_machine_pass_a_signal_on_and_end(stand_ins, interruptible, number, code):
    stand_ins.add("program", f'trap "exit 75" TERM; trap "exit 0" INT; {WAITS}\n')
    log = stand_ins.folder / "log"
    line = [ROOT / "launch" / "gpu.sh", f"--python={stand_ins.programs}/program", "--", "--config=c", "--workdir=w"]
    with log.open("w") as out, subprocess.Popen(line, stdout=out, env=stand_ins.environment()) as process:
        appears(log, "up")
        process.send_signal(number)
        assert process.wait(timeout=20) == code
    assert len(stand_ins.calls()) == 1


def test_gke_and_its_image(stand_ins):
    stand_ins.add("xpk")
    stand_ins.add("docker", 'if [[ $1 == build ]]; then tar -tzf - >"$STAND_INS/context"; fi\n')
    stand_ins.add("git", GIT)
    place = ["--project=p", "--zone=z", "--cluster=c"]
    assert stand_ins.run("gke_xpk.sh", "image", "--image=i:1", f"--base={BASE}", f"--commit={COMMIT}").returncode == 0
    assert stand_ins.run("gke_xpk.sh", "status", *place).returncode == 0
    assert [call[:2] for call in stand_ins.calls()] == [
        ["git", "-C"], ["docker", "build"], ["docker", "push"], ["xpk", "workload"],
    ]  # fmt: skip
    assert "launch/Dockerfile" in (stand_ins.folder / "context").read_text()
    stand_ins.answer("xpk", "code 9")
    assert stand_ins.run("gke_xpk.sh", "status", *place).returncode == 9


def test_the_page_shows_commands_that_are_accepted(stand_ins):
    """Every command of docs/launching.md, read as a shell reads it, in a dry run."""
    stand_ins.add("git")
    stand_ins.answer("git", COMMIT)
    page = (ROOT / "docs" / "launching.md").read_text().replace("\\\n", " ").replace("python@sha256:DIGITS", BASE)
    shown = [line.strip() for line in page.splitlines() if line.startswith(("launch/", "sbatch "))]
    assert len(shown) >= 12
    exported = dict(word.split("=") for word in re.search("^export (.*)$", page, re.MULTILINE)[1].split())
    for line in shown:
        words = shlex.split(line)
        script = next(index for index, word in enumerate(words) if word.startswith("launch/"))
        name, arguments = words[script].removeprefix("launch/"), words[script + 1 :]
        at = arguments.index("--") if "--" in arguments else len(arguments)
        ran = stand_ins.run(name, *arguments[:at], "--dry-run", *arguments[at:], **JOB, **exported)
        assert (ran.returncode, ran.stderr) == (0, ""), line
        assert ran.stdout
