"""One target under the fuzzer, in this process: `reliability.fuzz` starts it.

    python -m reliability.fuzz_worker TARGET FOLDER SECONDS INPUT_SECONDS MEMORY

Written to FOLDER: `corpus` (inputs that reached new statements), `counts` (`fuzz_judge.COUNTS`), and a file for each
finding, each kind of it once. libFuzzer adds those that ended the process.
"""

import hashlib
import os
import resource
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fsfm_jax"], enable_loader_override=False):
    from reliability.fuzz_targets import TARGETS

from reliability.fuzz_judge import COUNTS, READ, REFUSED, judge


def main() -> None:
    name, folder, seconds, input_seconds, memory = sys.argv[1:]
    target, folder = TARGETS[name], Path(folder)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    counts, kinds = [0] * 5, set()
    counts_file = os.open(folder / "counts", os.O_RDWR | os.O_CREAT)
    kept = os.pread(counts_file, COUNTS.size, 0)
    if len(kept) == COUNTS.size:  # of a process before this one
        counts = list(COUNTS.unpack(kept))
    for seed in target.seeds():  # what is imported late, is imported now
        judge(target, seed, scratch)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + int(memory),) * 2)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def one_input(data: bytes) -> None:
        outcome, place = judge(target, data, scratch)
        counts[0] += 1
        if outcome in (READ, REFUSED):
            counts[1 + (outcome == REFUSED)] += 1
        else:
            counts[3] += 1
            kind = outcome.split(":")[0], place
            if kind not in kinds:
                kinds.add(kind)
                digest = hashlib.sha256(data).hexdigest()[:16]
                (folder / f"finding-{digest}").write_bytes(data)
                (folder / f"finding-{digest}.txt").write_text(f"{place}: {outcome}\n")
        counts[4] = max(counts[4], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
        os.pwrite(counts_file, COUNTS.pack(*counts), 0)

    options = [
        f"-max_total_time={seconds}", f"-timeout={input_seconds}", f"-max_len={target.longest}", "-rss_limit_mb=0",
        f"-artifact_prefix={folder}/", "-print_final_stats=1", "-reload=0",
        "-close_fd_mask=3",  # decoders complain to the terminal
    ]  # fmt: skip
    if target.words:
        options.append(f"-dict={folder / 'words'}")
    atheris.Setup([sys.argv[0], *options, str(folder / "corpus")], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
