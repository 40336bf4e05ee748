"""Hashes of everything that is pinned, in a lock for each requirements file.

    make locks        or, where uv is installed: python -m supply.locks [--root FOLDER]

A lock has the SHA-256 of every file that the package registry keeps of a version, wheels of all systems and the source,
so that `pip install --require-hashes` takes the file that fits and refuses any other. Versions are those of the
requirements file: nothing is chosen here. The registry is that of uv's own settings; no address is written down.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from supply.pins import INCLUDE, ROOT, Pin, Requirements, all_requirements, canonical, lock_of

# Installed with --no-deps: what they ask for contradicts our own pins.
WITHOUT_DEPENDENCIES = {"onnx.txt"}
HASH = re.compile(r"    --hash=sha256:([0-9a-f]{64})( \\)?")
PINNED = re.compile(r"(\S+)==(\S+) \\")
COMPILE = (
    "pip", "compile", "--no-deps", "--generate-hashes", "--no-header", "--no-annotate", "--no-config", "--quiet",
    # What JAX's wheels for TPUs ask for; the hashes of all other systems are written all the same.
    "--python-version=3.11", "--python-platform=x86_64-manylinux_2_31",
)  # fmt: skip


def read_lock(path: Path) -> tuple[tuple[str, ...], dict[Pin, frozenset[str]]]:
    """The locks that a lock builds on, and the hashes (64 hexadecimal digits) of each of its pins.

    Raises:
      ValueError: a line of another form, or a pin without hashes; file and line are in the text.
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
            raise ValueError(f"{path.name}, line {number}: expected a pin or its hash, found {line!r}; make locks")
    bare = [one.name for one, found in hashes.items() if not found]
    if bare or pin is not None:
        raise ValueError(f"{path.name}: expected hashes of every pin, found none of {', '.join(bare)}; make locks")
    return tuple(includes), {one: frozenset(found) for one, found in hashes.items()}


def check_lock(requirements: Requirements) -> None:
    """Refuses a lock that is not that of its requirements file.

    Raises:
      FileNotFoundError: there is none.
      ValueError: other pins or other files that it builds on; every difference is named.
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
            f"{lock.name}: expected the pins of {requirements.path.name}; absent: {absent}; "
            f"too much: {extra}; run: make locks"
        )


def lock_text(requirements: Requirements) -> str:
    """The content of the lock, as uv finds it on the registry.

    Raises:
      subprocess.CalledProcessError: uv found no such version; it has said which.
    """
    heading = f"# Made by `make locks` from {requirements.path.name}: change that, not this.\n"
    heading += "".join(f"{INCLUDE}{lock_of(Path(name)).name}\n" for name in requirements.includes)
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder, "own.txt")
        own.write_text("".join(f"{pin.name}=={pin.version}\n" for pin in requirements.pins))
        command = [sys.executable, "-m", "uv", *COMPILE, str(own)]
        return heading + subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def check_closed(requirements: Requirements) -> None:
    """Finds out whether a lock has everything that its packages ask for, as an empty environment would.

    Raises:
      subprocess.CalledProcessError: something has no hash there; uv has said what.
    """
    if requirements.path.name in WITHOUT_DEPENDENCIES:
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--quiet", "--require-hashes"]
        subprocess.run([*command, f"--target={folder}", f"--requirement={requirements.lock}"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="folder of the requirements files")
    found = all_requirements(parser.parse_args().root)
    for requirements in found:
        requirements.lock.write_text(lock_text(requirements))
        check_lock(requirements)
        print(f"{requirements.lock.name}: {len(requirements.pins)} packages")
    for requirements in found:
        check_closed(requirements)


if __name__ == "__main__":
    main()
