"""What two hosts do when the network between them is cut, and whether their run resumes like an undisturbed one.

    python -m reliability.network_cut [--folder FOLDER]

Each host is a process in a network namespace of its own, with its own address; a cable (veth) joins the two. They train
a tiny network together and save to one folder. After the second checkpoint the far end of the cable is pulled. Then:
what each host says, with which code it ends and after how many seconds; whether the last checkpoint is whole; whether
both, started again with the cable in place, end like hosts that nobody disturbed, byte for byte. Needs root, and
iproute2. Takes about six minutes. Writes reliability/results/network_cut.json.
"""

import argparse
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from etils import epath

from benchmarks.masks import write_results
from fsfm_jax.run.digests import complaints
from reliability import RESULTS
from reliability.kill_chains import FIELDS, ROOT, differences, lines, saved_steps

NAMES, ADDRESSES, PORT = ("fsfm-a", "fsfm-b"), ("10.77.0.1", "10.77.0.2"), 8476
LONGEST = 3600  # seconds that a host may take to end
SPLIT = {"batch.per_device": 1}  # one image of a batch on each host


def ip(*words: str, within: str = "") -> None:
    """Run a command of iproute2, in a namespace if one is named."""
    subprocess.run(["ip", *(["-n", within] if within else []), *words], check=True)


@contextlib.contextmanager
def two_networks() -> Iterator[None]:
    """Make two network namespaces joined by a cable; in each, the machine's name is the address of that end."""
    try:
        for name in NAMES:
            ip("netns", "add", name)
        ip("link", "add", NAMES[0], "netns", NAMES[0], "type", "veth", "peer", "name", NAMES[1], "netns", NAMES[1])
        for name, address in zip(NAMES, ADDRESSES, strict=True):
            ip("address", "add", f"{address}/24", "dev", name, within=name)
            for device in ("lo", name):
                ip("link", "set", device, "up", within=name)
            # `ip netns exec` shows this file as /etc/hosts: collectives take the address of the machine's name.
            folder = Path("/etc/netns") / name
            folder.mkdir(parents=True)
            (folder / "hosts").write_text(f"127.0.0.1 localhost\n{address} {socket.gethostname()}\n")
        yield
    finally:
        for name in NAMES:
            subprocess.run(["ip", "netns", "delete", name], check=False)
            shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)


def start(workdir: Path) -> list[subprocess.Popen]:
    """Start both hosts of a run; their output goes to files next to `workdir`."""
    options = [f"--config.{name}={value}" for name, value in {**FIELDS, **SPLIT}.items()]
    command = [sys.executable, "-m", "fsfm_jax.main", "--cluster", "--config=configs/pretrain_demo.py"]
    hosts = []
    for number, name in enumerate(NAMES):
        own = {
            "JAX_PLATFORMS": "cpu", "JAX_COORDINATOR_ADDRESS": f"{ADDRESSES[0]}:{PORT}", "JAX_NUM_PROCESSES": "2",
            "JAX_PROCESS_ID": str(number), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax")),
        }  # fmt: skip
        with said(workdir, number).open("w") as file:
            hosts.append(subprocess.Popen(
                ["ip", "netns", "exec", name, *command, f"--workdir={workdir}", *options],
                cwd=ROOT, stderr=file, stdout=file, env={**os.environ, **own},
            ))  # fmt: skip
    return hosts


def said(workdir: Path, number: int) -> Path:
    """Return the file with the output of a host."""
    return workdir.with_name(f"{workdir.name}-host{number}.txt")


def last_words(workdir: Path, number: int) -> str:
    """Return the last sentence of a host that says what went wrong, without addresses of code."""
    text = said(workdir, number).read_text(errors="replace")
    found = [line for line in text.splitlines() if re.search(r"error|[Ff]ail|timed? ?out|[Uu]navailable", line)]
    return (found or text.splitlines() or [""])[-1][-400:]


def end(hosts: list[subprocess.Popen]) -> list[tuple[int | None, float]]:
    """Exit code and seconds from now of each host; None if it had to be killed."""
    started, found = time.monotonic(), [(None, float(LONGEST))] * len(hosts)
    while time.monotonic() - started < LONGEST and any(code is None for code, _ in found):
        for number, host in enumerate(hosts):
            if found[number][0] is None and host.poll() is not None:
                found[number] = host.returncode, round(time.monotonic() - started, 1)
        time.sleep(0.1)
    for host in hosts:
        host.kill()
        host.wait()
    return found


def trained(workdir: Path) -> None:
    """Start both hosts and wait for their end; RuntimeError if one fails."""
    codes = [code for code, _ in end(start(workdir))]
    if codes != [0, 0]:
        words = " | ".join(last_words(workdir, number) for number in range(2))
        raise RuntimeError(f"{workdir.name}: expected both hosts to end with 0, found {codes}: {words}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None, help="for the runs; by default a temporary one")
    folder = parser.parse_args().folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    workdir, undisturbed = folder / "cut", folder / "undisturbed"
    with two_networks():
        if not (undisturbed / "reconstruction.png").exists():
            trained(undisturbed)
        hosts = start(workdir)
        while len(saved_steps(workdir)) < 2 and all(host.poll() is None for host in hosts):
            time.sleep(0.05)
        if any(host.poll() is not None for host in hosts):
            raise RuntimeError(f"expected two checkpoints before the cut, found an end: {last_words(workdir, 0)}")
        ip("link", "set", NAMES[1], "down", within=NAMES[1])
        done = len(lines(workdir))
        ended = end(hosts)
        steps = saved_steps(workdir)
        rows = [
            {"what": f"host {number}", "exit code": code, "seconds after the cut": seconds,
             "found": last_words(workdir, number).replace(str(folder), "FOLDER")}
            for number, (code, seconds) in enumerate(ended)
        ]  # fmt: skip
        damaged = [text for step in steps for text in complaints(epath.Path(workdir / "checkpoints" / str(step)))]
        ip("link", "set", NAMES[1], "up", within=NAMES[1])
        trained(workdir)
    resumed = next((line for line in said(workdir, 0).read_text().splitlines() if "at step" in line), "")
    differing = differences(workdir, undisturbed)
    rows += [
        {"what": "checkpoints after the cut", "exit code": "", "seconds after the cut": "",
         "found": f"steps {steps}, {len(damaged)} damaged files; the cut came at step {done}"},
        {"what": "started again", "exit code": 0, "seconds after the cut": "", "found": resumed.strip()[-200:]},
        {"what": "differences from undisturbed hosts", "exit code": "", "seconds after the cut": "",
         "found": "none" if not differing else "; ".join(differing)},
    ]  # fmt: skip
    write_results("network_cut", {"fields": {**FIELDS, **SPLIT}, "damaged": damaged}, rows, RESULTS)


if __name__ == "__main__":
    main()
