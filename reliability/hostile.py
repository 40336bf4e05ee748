"""Test whether a weight file can do harm: read many mutated files to their last number.

    python -m reliability.hostile [--mutations N] [--seed N] [--folder FOLDER]

A process of its own with a bounded address space reads mutant after mutant: its structure and all tensors. It must end
in time, either with plain data or with a ValueError of a sentence that the readers themselves wrote. Anything else is a
finding: another exception or one that Python worded, a crash, a hang, an import, another file opened or written, a
process, a socket. The mutants of findings are kept in FOLDER. Writes reliability/results/hostile.json.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks.masks import write_results
from reliability import RESULTS
from reliability.honest_files import PTH, SAFETENSORS, seeds
from reliability.mutations import CANARY, mutant
from reliability.verdicts import READ, REFUSED, judge, read_safetensors, read_torch, refusals

SECONDS = 20  # for one mutant; a million instructions, as many as are followed, take three
MEMORY = 1 << 30  # bytes of address space beyond those of the libraries
READERS = {PTH: read_torch, SAFETENSORS: read_safetensors}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of one mutant.

    Attributes:
      number: its place; with the seed it says all about it.
      outcome: READ, REFUSED, or what was found.
      where: place of the statement that refused it.
      seconds: of reading.
      memory: bytes by which the process has been larger than after its imports, so far.
      ended: whether its process is no more.
    """

    number: int
    outcome: str
    where: str = ""
    seconds: float = 0.0
    memory: int = 0
    ended: bool = False


def read_range(pipe, seed: int, first: int, last: int, folder: str) -> None:
    """Read the mutants from `first` up to `last` in this process; sends None when ready, then a Verdict of each."""
    os.chdir(folder)  # a command of a mutant would write there
    for kind in READERS:  # what is imported late, is imported now
        for honest in seeds():
            if honest.kind == kind:
                Path(f"mutant.{kind}").write_bytes(honest.data)
                READERS[kind](os.path.join(folder, f"mutant.{kind}"))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pipe.send(None)
    for number in range(first, last):
        honest, _, data = mutant(seed, number)
        path = os.path.join(folder, f"mutant.{honest.kind}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # rather than cut off under an array that is still mapped
        Path(path).write_bytes(data)
        start = time.perf_counter()
        outcome, where = judge(path, READERS[honest.kind], CANARY)
        seconds = time.perf_counter() - start
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        pipe.send(Verdict(number, outcome, where, seconds, memory))


def attack(mutations: int, seed: int, work=read_range) -> Iterator[Verdict]:
    """Yield a Verdict for every mutant, in order; a process that dies or hangs is one, and is replaced.

    Raises:
      EOFError: such a process cannot even be started.
    """
    spawn = multiprocessing.get_context("spawn")
    number = 0
    with tempfile.TemporaryDirectory() as folder:
        while number < mutations:
            ours, its = spawn.Pipe(duplex=False)
            process = spawn.Process(target=work, args=(its, seed, number, mutations, folder), daemon=True)
            process.start()
            its.close()
            try:
                ours.recv()
                while number < mutations:
                    verdict = _next(ours, process, number)
                    number += 1
                    yield verdict
                    if verdict.ended:
                        break
            finally:
                process.kill()
                process.join()
                process.close()
                ours.close()


def _next(pipe, process, number: int) -> Verdict:
    if not pipe.poll(SECONDS):
        return Verdict(number, f"it was not read in {SECONDS} seconds", seconds=SECONDS, ended=True)
    try:
        return pipe.recv()
    except EOFError:
        process.join()
        return Verdict(number, f"the process ended with {process.exitcode}", ended=True)


def is_finding(verdict: Verdict) -> bool:
    """Return whether a mutant was neither read nor refused as it should be."""
    return verdict.outcome not in (READ, REFUSED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/hostile"))
    options = parser.parse_args()
    start, digest, groups, where, memory = time.perf_counter(), hashlib.sha256(), {}, set(), 0
    findings, everything = [], []
    for verdict in attack(options.mutations, options.seed):
        honest, change, data = mutant(options.seed, verdict.number)
        groups.setdefault((honest.kind, change), []).append(verdict)
        everything.append(verdict)
        digest.update(zlib.crc32(data).to_bytes(4, "little"))
        where.add(verdict.where)
        memory = max(memory, verdict.memory)
        if is_finding(verdict):
            options.folder.mkdir(parents=True, exist_ok=True)
            kept = options.folder / f"{options.seed}-{verdict.number}.{honest.kind}"
            kept.write_bytes(data)
            findings.append(f"{kept.name}, {honest.name}, {change}: {verdict.outcome}")
            print(findings[-1])
    seconds = time.perf_counter() - start
    rows = [
        {
            "file": f".{kind}", "mutation": change, "mutants": len(verdicts),
            "refused": sum(verdict.outcome == REFUSED for verdict in verdicts),
            "read": sum(verdict.outcome == READ for verdict in verdicts),
            "findings": sum(map(is_finding, verdicts)),
            "ms, median": f"{1e3 * statistics.median(verdict.seconds for verdict in verdicts):.2f}",
            "ms, slowest": f"{1e3 * max(verdict.seconds for verdict in verdicts):.0f}",
        }
        for (kind, change), verdicts in sorted(groups.items())
    ]  # fmt: skip
    statements = [f"{Path(file).name}:{first}" for file, lines in refusals().items() for first, _ in lines]
    settings = {
        "mutations": options.mutations, "seed": options.seed, "sha256 of all checksums": digest.hexdigest(),
        "honest files": [honest.name for honest in seeds()],
        "refused": sum(row["refused"] for row in rows), "read": sum(row["read"] for row in rows),
        "findings": len(findings), "what was found": findings,
        "mutants per second": round(options.mutations / seconds, 1),
        "slowest, seconds": round(max(verdict.seconds for verdict in everything), 3),
        "peak memory beyond the imports, MB": round(memory / 1e6, 1),
        "bounds": {"seconds": SECONDS, "address space beyond the imports, MB": round(MEMORY / 1e6)},
        "refusing statements": len(statements), "of these reached": len(where & {*statements}),
        "not reached": [statement for statement in statements if statement not in where],
    }  # fmt: skip
    write_results("hostile", settings, rows, RESULTS)
    print(f"{settings['findings']} findings, {settings['mutants per second']} mutants per second")


if __name__ == "__main__":
    main()
