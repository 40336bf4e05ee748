"""Write the hashes of all pinned packages, in a lock for each requirements file.

    make locks        or, with uv installed: python -m supply.locks [--root FOLDER]

A lock has the SHA-256 of every file of a version in the package registry: wheels of all systems and the source.
`pip install --require-hashes` then accepts the matching file and rejects all others. The requirements file determines
the versions. The registry is the one in uv's settings; no address is written down.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from supply.pins import INCLUDE, ROOT, Pin, Requirements, all_requirements, canonical, lock_of

# Installed with --no-deps, because their dependencies contradict the pins of this project.
WITHOUT_DEPENDENCIES = {"onnx.txt"}
HASH = re.compile(r"    --hash=sha256:([0-9a-f]{64})( \\)?")
PINNED = re.compile(r"(\S+)==(\S+) \\")
COMPILE = (
    "pip", "compile", "--no-deps", "--generate-hashes", "--no-header", "--no-annotate", "--no-config", "--quiet",
    # The platform of JAX's wheels for TPUs; hashes for all other systems are also written.
    "--python-version=3.11", "--python-platform=x86_64-manylinux_2_31",
)  # fmt: skip


def read_lock(path: Path) -> tuple[tuple[str, ...], dict[Pin, frozenset[str]]]:
    """Read the locks that a lock includes, and the hashes (64 hexadecimal digits) of each of its pins.

    Raises:
      ValueError: if a line has another form, or a pin has no hashes; the message names file and line.
    """
    includes, hashes, pin = [], {}, None
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        if line.startswith(INCLUDE):
            includes.append(line.removeprefix(INCLUDE))
        elif matched := PINNED.fullmatch(line):
            pin = Pin(canonical(matched[1]), matched[2])
            hashes[pin] = set()
        elif (matched := HASH.fullmatch(line)) and pin is not None:
            hashes[pin].add(matched[1])
            pin = pin if matched[2] else None
        else:
            raise ValueError(f"{path.name}, line {number}: expected a pin or its hash, found {line!r}; run: make locks")
    bare = [one.name for one, found in hashes.items() if not found]
    if bare or pin is not None:
        raise ValueError(f"{path.name}: expected hashes of every pin, found none of {', '.join(bare)}; run: make locks")
    return tuple(includes), {one: frozenset(found) for one, found in hashes.items()}


def check_lock(requirements: Requirements) -> None:
    """Check that a lock matches its requirements file.

    Raises:
      FileNotFoundError: if there is no lock.
      ValueError: if pins or included files differ; the message lists every difference.
    """
    lock = requirements.lock
    if not lock.is_file():
        raise FileNotFoundError(f"{requirements.path.name} has no {lock.name}; run: make locks")
    includes, hashes = read_lock(lock)
    want = {*requirements.pins, *(lock_of(Path(name)).name for name in requirements.includes)}
    have = {*hashes, *includes}
    if want != have:
        absent, extra = (", ".join(sorted(map(str, part))) or "nothing" for part in (want - have, have - want))
        raise ValueError(
            f"{lock.name}: expected the pins of {requirements.path.name}; missing: {absent}; "
            f"unexpected: {extra}; run: make locks"
        )


def lock_text(requirements: Requirements) -> str:
    """Return the content of the lock, resolved by uv from the registry.

    Raises:
      subprocess.CalledProcessError: if uv does not find a version; uv prints which.
    """
    heading = f"# Made by `make locks` from {requirements.path.name}: edit that file, not this one.\n"
    heading += "".join(f"{INCLUDE}{lock_of(Path(name)).name}\n" for name in requirements.includes)
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder, "own.txt")
        own.write_text("".join(f"{pin.name}=={pin.version}\n" for pin in requirements.pins))
        command = [sys.executable, "-m", "uv", *COMPILE, str(own)]
        return heading + subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def check_closed(requirements: Requirements) -> None:
    """Check that a lock contains all dependencies of its packages, as for an empty environment.

    Raises:
      subprocess.CalledProcessError: if a dependency has no hash; uv prints which.
    """
    if requirements.path.name in WITHOUT_DEPENDENCIES:
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--quiet", "--require-hashes"]
        subprocess.run([*command, f"--target={folder}", f"--requirement={requirements.lock}"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the requirements files (default: checkout)")
    found = all_requirements(parser.parse_args().root)
    for requirements in found:
        requirements.lock.write_text(lock_text(requirements))
        check_lock(requirements)
        print(f"{requirements.lock.name}: {len(requirements.pins)} packages")
    for requirements in found:
        check_closed(requirements)


if __name__ == "__main__":
    main()
