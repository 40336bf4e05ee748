"""What the launch scripts would execute, and how they refuse: read from --dry-run, with values awkward to a shell."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from stand_ins import ROOT, StandIns

SCRIPTS = ["tpu_vm.sh", "gke_xpk.sh", "slurm_gpu.sbatch", "gpu.sh"]
SHELL = sorted(path for path in (ROOT / "launch").iterdir() if path.suffix in {".sh", ".sbatch"})
COMMIT = "0123456789abcdef0123456789abcdef01234567"
BASE = f"python@sha256:{'0123456789abcdef' * 4}"
WORKDIR = """--workdir=gs://b/it's a "run" $(x) *"""
PROGRAM = ["--config=configs/pretrain_vitb.py:a b", WORKDIR]
# The program's options as a worker's shell is to read them, and as xpk's line holds them.
QUOTED = """'--config=configs/pretrain_vitb.py:a b' '--workdir=gs://b/it'\\''s a "run" $(x) *'"""
QUEUE = ["gcloud", "compute", "tpus", "queued-resources"]
PLACE = ["--project=my project", "--zone=z"]
ALL = [*PLACE, "--node=all", "--worker=all"]
SLICE = ["--name=run-1", *PLACE]
HERE = [f"--commit={COMMIT}"]
LOOK = [*QUEUE, "list", *PLACE, "--filter=name~/queuedResources/run-1$", "--format=value(state.state)"]
CREATE = [*QUEUE, "create", "run-1", *PLACE, "--accelerator-type=v6e-16", "--runtime-version=v2-alpha-tpuv6e"]
CHECKOUT = "fsfm_jax-0123456789ab"
SETUP = f"bash {CHECKOUT}/launch/tpu_setup.sh"
LINE = ".venv/bin/python -m fsfm_jax.main --cluster"
CLUSTER = [*PLACE, "--cluster=c"]


def on_all(line: str, *flags: str) -> list[str]:
    return [*QUEUE, "ssh", "run-1", *ALL, *flags, f"--command={line}"]


def worker(verb: str) -> list[str]:
    return on_all(f"bash fsfm_jax-current/launch/tpu_worker.sh {verb} run-1")


def copied(folder: Path, *flags: str) -> list[list[str]]:
    archive = f"{folder}/{CHECKOUT}.tar.gz"
    return [
        ["git", "-C", str(ROOT), "archive", "--format=tar.gz", f"--output={archive}", COMMIT],
        [*QUEUE, "scp", archive, f"run-1:{CHECKOUT}.tar.gz", *ALL, *flags],
        on_all(f"mkdir -p {CHECKOUT} && tar -xzf {CHECKOUT}.tar.gz -C {CHECKOUT} && {SETUP}", *flags),
    ]


def started(logs: str) -> list[str]:
    return on_all(f"cd {CHECKOUT} && bash launch/tpu_worker.sh start run-1 {logs} {LINE} {QUOTED}")


@pytest.fixture
def stand_ins(tmp_path):
    """Programs that must not be called: whatever a dry run starts is in `calls`."""
    made = StandIns(tmp_path)
    for name in ("gcloud", "xpk", "srun", "scontrol", "docker", "git", "python3"):
        made.add(name)
    return made


def lines(stand_ins: StandIns, script: str, *arguments: str, **variables: str) -> list[list[str]]:
    ran = stand_ins.run(script, *arguments, **variables)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert stand_ins.calls() == []
    return [shlex.split(line) for line in ran.stdout.splitlines()]


def test_tpu_vm_in_dry_runs(stand_ins):
    def said(command: str, *arguments: str) -> list[list[str]]:
        return lines(stand_ins, "tpu_vm.sh", command, *SLICE, "--dry-run", *arguments)

    assert said("create", "--type=v6e-16") == [[*CREATE, "--node-id=run-1"]]
    assert said("create", "--type=v6e-16", "--spot", "--node-count=2", "--create-flag=--labels=a=b c") == [
        [*CREATE, "--node-count=2", "--node-prefix=run-1", "--spot", "--labels=a=b c"]
    ]
    assert said("wait") == [LOOK]
    assert said("setup", *HERE, "--connect-flag=--tunnel-through-iap") == copied(
        stand_ins.folder, "--tunnel-through-iap"
    )
    assert said("setup", *HERE, "--repository=https://host/it's a.git") == [
        on_all(
            f"{{ test -e {CHECKOUT}/.git || git clone --quiet 'https://host/it'\\''s a.git' {CHECKOUT}; }}"
            f" && git -C {CHECKOUT} checkout --quiet --detach {COMMIT} && {SETUP}"
        )
    ]
    assert said("run", *HERE, "--", *PROGRAM) == [started("-"), worker("follow")]
    assert said("restart", *HERE, "--type=v6e-16", "--spot", "--logs=gs://b/my logs", "--", *PROGRAM) == [
        [*CREATE, "--node-id=run-1", "--spot"], LOOK, *copied(stand_ins.folder), started("'gs://b/my logs'"),
        worker("follow"),
    ]  # fmt: skip
    assert said("status") == [[*QUEUE, "describe", "run-1", *PLACE, "--format=yaml(name,state)"], worker("status")]
    assert said("logs", "--node=1", "--worker=3") == [
        [*QUEUE, "ssh", "run-1", *PLACE, "--node=1", "--worker=3",
         "--command=tail --lines=100 --follow=name fsfm_jax-runs/run-1/log"],
    ]  # fmt: skip
    assert said("stop") == [worker("stop")]
    assert said("delete") == [[*QUEUE, "delete", "run-1", *PLACE, "--force", "--quiet"]]


@pytest.mark.parametrize(
    ("kind", "version"),
    [("v4-8", "tpu-ubuntu2204-base"), ("v5litepod-16", "v2-alpha-tpuv5-lite"), ("v5p-8", "v2-alpha-tpuv5")],
)
def test_each_type_has_its_software(stand_ins, kind, version):
    """The fourth, v6e, is in the dry runs."""
    (create,) = lines(stand_ins, "tpu_vm.sh", "create", *SLICE, f"--type={kind}", "--dry-run")
    assert f"--runtime-version={version}" in create
    (create,) = lines(stand_ins, "tpu_vm.sh", "create", *SLICE, f"--type={kind}", "--runtime-version=v9", "--dry-run")
    assert "--runtime-version=v9" in create


def test_what_is_always_the_same_may_stand_in_the_environment(stand_ins):
    variables = {"FSFM_NAME": "run-1", "FSFM_PROJECT": "my project", "FSFM_ZONE": "z", "FSFM_TPU_TYPE": "v6e-16"}
    assert lines(stand_ins, "tpu_vm.sh", "create", "--dry-run", **variables) == [[*CREATE, "--node-id=run-1"]]


def test_gke_in_dry_runs(stand_ins):
    def said(command: str, *arguments: str) -> list[list[str]]:
        return lines(stand_ins, "gke_xpk.sh", command, *CLUSTER, "--dry-run", *arguments)

    archive = f"{stand_ins.folder}/fsfm_jax-image.tar"
    assert said("image", "--image=host/i:1 2", f"--base={BASE}", *HERE) == [
        ["git", "-C", str(ROOT), "archive", "--format=tar", f"--output={archive}", COMMIT],
        ["docker", "build", "--file=launch/Dockerfile", f"--build-arg=BASE={BASE}", "--tag=host/i:1 2", "-",
         f"<{archive}"],
        ["docker", "push", "host/i:1 2"],
    ]  # fmt: skip
    assert said("cluster-create", "--type=v5p-8", "--num-slices=2", "--spot") == [
        ["xpk", "cluster", "create", *CLUSTER, "--tpu-type=v5p-8", "--num-slices=2", "--spot"]
    ]
    run = ["--type=v5p-8", "--workload=w", "--image=i:1", "--num-slices=2", "--max-restarts=7", "--grace=60", "--spot"]
    assert said("run", *run, "--", *PROGRAM) == [
        ["xpk", "workload", "create", *CLUSTER, "--workload=w", "--tpu-type=v5p-8", "--num-slices=2", "--spot",
         "--docker-image=i:1", "--max-restarts=7", "--restart-on-exit-codes=75",
         "--termination-grace-period-seconds=60",
         f"--command=exec python -m fsfm_jax.main --cluster {QUOTED}"],
    ]  # fmt: skip
    assert said("status") == [["xpk", "workload", "list", *CLUSTER]]
    assert said("stop", "--workload=w") == [["xpk", "workload", "delete", *CLUSTER, "--workload=w", "--force"]]
    assert said("cluster-delete") == [["xpk", "cluster", "delete", *CLUSTER, "--force"]]


def test_the_image_is_built_on_a_digest_and_from_hashes():
    """The check of its first step as a shell runs it; docker itself refuses a build without the argument."""
    lines = (ROOT / "launch" / "Dockerfile").read_text().replace("\\\n", "").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and line[0] != "#"]
    assert [word for word, _ in steps[:4]] == ["ARG", "FROM", "ARG", "RUN"]
    assert [text for word, text in steps if word in ("ARG", "FROM")] == ["BASE", "${BASE}", "BASE"]
    for base, code in ((BASE, 0), ("python:3.11-slim", 1), (BASE[:-1], 1), ("", 1)):
        variables = {**os.environ, "BASE": base}
        ran = subprocess.run(["sh", "-c", steps[3][1]], env=variables, capture_output=True, text=True)
        assert ran.returncode == code and ("expected an image by its digest" in ran.stderr) == bool(code)
    copied = next(text.split()[:-1] for word, text in steps if word == "COPY")
    installs = [text for word, text in steps if word == "RUN" and "pip install" in text]
    assert installs and all("--require-hashes" in text for text in installs)
    wanted = set(re.findall(r"--requirement (\S+)", " ".join(installs)))
    included = {name for lock in wanted for name in re.findall("(?m)^-r (.*)$", (ROOT / lock).read_text())}
    wanted |= {f"requirements/{name}" for name in included}
    assert wanted == set(copied) == {"requirements/run.lock", "requirements/tpu.lock"}


def test_slurm_in_dry_runs(stand_ins):
    job = {"SLURM_JOB_NUM_NODES": "3", "SLURM_GPUS_ON_NODE": "4", "SLURM_CPUS_ON_NODE": "34"}

    def srun(tasks: int, per_node: int, cpus: int, *variables: str) -> list[str]:
        return [
            "srun", "--nodes=3", f"--ntasks={tasks}", f"--ntasks-per-node={per_node}", f"--cpus-per-task={cpus}",
            "--gpu-bind=none", "--kill-on-bad-exit=0", "--wait=120", "--label", "env", f"--chdir={ROOT}", *variables,
            "my python", "-m", "fsfm_jax.main", "--cluster", *PROGRAM,
        ]  # fmt: skip

    arguments = ["--dry-run", "--python=my python", "--", *PROGRAM]
    assert lines(stand_ins, "slurm_gpu.sbatch", *arguments, **job) == [srun(3, 1, 34, "JAX_LOCAL_DEVICE_IDS=0,1,2,3")]
    assert lines(stand_ins, "slurm_gpu.sbatch", "--processes=gpu", *arguments, **job) == [srun(12, 4, 8)]
    scarce = job | {"SLURM_CPUS_ON_NODE": "2"}
    assert lines(stand_ins, "slurm_gpu.sbatch", "--processes=gpu", *arguments, **scarce) == [srun(12, 4, 1)]


def test_gpu_in_dry_runs_and_the_options_of_the_batch_job(stand_ins):
    program = ["-m", "fsfm_jax.main", *PROGRAM]
    python = f"{ROOT}/.venv/bin/python"
    assert lines(stand_ins, "gpu.sh", "--dry-run", "--", *PROGRAM) == [["env", f"--chdir={ROOT}", python, *program]]
    assert lines(stand_ins, "gpu.sh", "--dry-run", "--gpus=0,3", "--python=a b", "--", *PROGRAM) == [
        ["env", f"--chdir={ROOT}", "CUDA_VISIBLE_DEVICES=0,3", "a b", *program]
    ]
    # Comments to bash, so that nothing else would miss them.
    text = (ROOT / "launch" / "slurm_gpu.sbatch").read_text()
    head = text[: text.index("set -euo pipefail")]
    assert re.findall("^#SBATCH (.*)$", head, re.MULTILINE) == [
        "--job-name=fsfm_jax", "--output=%x-%j.log", "--open-mode=append", "--requeue", "--signal=TERM@120",
    ]  # fmt: skip


OPTIONS = ["--", *PROGRAM]
GKE = ["run", *CLUSTER, "--type=t", "--workload=w", "--image=i"]


@pytest.mark.parametrize(("script", "arguments", "sentence"), [
        ("tpu_vm.sh", ["creat"], "unknown command creat;"),
        ("tpu_vm.sh", ["create", "--project=p", "--zone=z"], "--name is missing: pass --name=VALUE or set FSFM_NAME"),
        ("tpu_vm.sh", ["create", *SLICE], "pass --type=VALUE or set FSFM_TPU_TYPE"),
        ("tpu_vm.sh", ["create", *SLICE, "--type=v9-8"], "expected v4-N, v5litepod-N, v5p-N or v6e-N, found v9-8;"),
        ("tpu_vm.sh", ["create", *SLICE, "--name=a b"], "--name: expected at most 40 lower-case letters, digits and d"),
        ("tpu_vm.sh", ["create", *SLICE, "--spott"], "unknown option --spott;"),
        ("tpu_vm.sh", ["create", *SLICE, "--node-count=0"], "--node-count: expected a whole number of at least 1"),
        ("tpu_vm.sh", ["wait", *SLICE, "--poll=x y"], "expected a whole number of at least 0, found 'x y'."),
        ("tpu_vm.sh", ["run", *SLICE, *HERE, "--logs=/tmp", *OPTIONS], "--logs: expected gs://BUCKET/FOLDER"),
        ("tpu_vm.sh", ["run", *SLICE, *HERE], "--config=FILE is missing"),
        ("tpu_vm.sh", ["run", *SLICE, *HERE, "--", "--config=c"], "--workdir=FOLDER is missing"),
        ("tpu_vm.sh", ["run", *SLICE, *HERE, "--", "--config=c", "--workdir=/d"], "disk of a reclaimed machine is"),
        ("tpu_vm.sh", ["run", *SLICE, *HERE, *OPTIONS, "--cluster"], "leave out --cluster:"),
        ("tpu_vm.sh", ["run", *SLICE, *HERE, *OPTIONS, "5"], "options: expected --name=value, found 5."),
        ("tpu_vm.sh", ["run", *SLICE, *HERE, *OPTIONS, "--a=b\nc"], "options: expected no line break, found"),
        ("tpu_vm.sh", ["delete", *SLICE, *OPTIONS], "delete takes no options of the program."),
        ("tpu_vm.sh", ["setup", *SLICE, "--repository=u", "--commit=main"], "expected the 40 digits of a commit"),
        ("gke_xpk.sh", ["run", *PLACE], "pass --cluster=VALUE or set FSFM_CLUSTER"),
        ("gke_xpk.sh", ["run", *CLUSTER, "--type=t"], "pass --image=VALUE or set FSFM_IMAGE"),
        ("gke_xpk.sh", ["image", "--image=i"], "pass --base=VALUE or set FSFM_BASE"),
        ("gke_xpk.sh", ["image", "--image=i", "--base=python:3.11-slim"], "expected an image by its digest, NAME@"),
        ("gke_xpk.sh", ["stop", *CLUSTER], "pass --workload=VALUE or set FSFM_NAME"),
        ("gke_xpk.sh", [*GKE, "--grace=0", *OPTIONS], "--grace: expected a whole number of at least 1, found 0."),
        ("gke_xpk.sh", [*GKE, "--", "--config=c", "--workdir=/d"], "expected gs://BUCKET/FOLDER"),
        ("slurm_gpu.sbatch", OPTIONS, "expected to run in a SLURM job, found none: call sbatch"),
        ("slurm_gpu.sbatch", ["--processes=gpus", *OPTIONS], "expected node or gpu, found gpus."),
        ("gpu.sh", ["--gpus=a", *OPTIONS], "--gpus: expected numbers such as 0,1, found a."),
        ("gpu.sh", [], "--config=FILE is missing"),
    ])  # fmt: skip
def test_wrong_use_is_a_sentence_and_exit_code_2(stand_ins, script, arguments, sentence):
    job = {"SLURM_JOB_NUM_NODES": "1", "SLURM_GPUS_ON_NODE": "1", "SLURM_CPUS_ON_NODE": "1"}
    ran = stand_ins.run(script, *arguments, **(job if "--processes=gpus" in arguments else {}))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"{script}: ") and sentence in ran.stderr
    assert stand_ins.calls() == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_names_every_option_the_script_reads(stand_ins, script):
    ran = stand_ins.run(script, *(["run"] if script in {"tpu_vm.sh", "gke_xpk.sh"} else []), "--help")
    assert (ran.returncode, ran.stderr) == (0, "")
    read = set(re.findall(r"^        (--[a-z-]+)[=)*]", (ROOT / "launch" / script).read_text(), re.MULTILINE))
    assert len(read) >= 4
    assert read <= set(re.findall("--[a-z-]+", ran.stdout))


def test_no_shell_script_has_a_warning():
    scripts = [*SHELL, ROOT / ".ci" / "run"]
    linter = Path(sys.executable).parent / "shellcheck"
    ran = subprocess.run([linter, "--external-sources", *scripts], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, "")
    assert len(SHELL) == 7
    assert [path.name for path in scripts if not os.access(path, os.X_OK)] == ["commands.sh"]


@pytest.mark.parametrize("name", ["requirements/tpu.txt", "requirements/cuda.txt"])
def test_accelerators_are_pinned_beside_the_same_jax(name):
    def pins(file: str) -> dict[str, str]:
        text = [line for line in (ROOT / file).read_text().splitlines() if line and line[0] not in "#-"]
        return dict(line.split("==") for line in text)

    base, own = pins("requirements.txt"), pins(name)
    assert set(own).isdisjoint(base)
    assert {version for package, version in own.items() if package.startswith("jax")} <= {base["jax"]}
    assert "-r ../requirements.txt" in (ROOT / name).read_text().splitlines()
