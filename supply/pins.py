"""The pins of the requirements files, read without pip."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = "requirements"  # folder of all pin files and locks except the default path's, which are at the top
DEFAULT, DEFAULT_LOCK = "requirements.txt", "run.lock"
INCLUDE = "-r "
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.!+_-]*)")


@dataclass(frozen=True, order=True)
class Pin:
    """One package at one version; `name` is normalised as in registries: lower case, words joined by hyphens."""

    name: str
    version: str


@dataclass(frozen=True)
class Requirements:
    """A requirements file.

    Attributes:
      path: path of the file.
      includes: names of the files that it includes.
      pins: its own pins, without those of included files.
    """

    path: Path
    includes: tuple[str, ...]
    pins: tuple[Pin, ...]

    @property
    def lock(self) -> Path:
        """The lock, the file with the hashes."""
        return lock_of(self.path)


def canonical(name: str) -> str:
    """Normalise a package name as registries do."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lock_of(path: Path) -> Path:
    """Return the path of the lock of a requirements file."""
    return path.parent / FOLDER / DEFAULT_LOCK if path.name == DEFAULT else path.with_suffix(".lock")


def read_requirements(path: Path) -> Requirements:
    """Read a requirements file of exact pins.

    Raises:
      ValueError: if a line is not a pin, or a package is pinned twice; the message names file and line.
    """
    includes, pins = [], {}
    for number, text in enumerate(path.read_text().splitlines(), start=1):
        line = text.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith(INCLUDE):
            includes.append(line.removeprefix(INCLUDE).strip())
            continue
        matched = PIN.fullmatch(line)
        if not matched:
            raise ValueError(f"{path.name}, line {number}: expected NAME==VERSION, found {line!r}; pin it exactly")
        pin = Pin(canonical(matched[1]), matched[2])
        if pin.name in pins:
            raise ValueError(f"{path.name}, line {number}: {pin.name} is pinned twice; remove one of the lines")
        pins[pin.name] = pin
    return Requirements(path, tuple(includes), tuple(sorted(pins.values())))


def all_requirements(root: Path = ROOT) -> list[Requirements]:
    """Read all requirements files of the checkout, the default path's first; raise as `read_requirements`."""
    return [read_requirements(path) for path in (root / DEFAULT, *sorted((root / FOLDER).glob("*.txt")))]
