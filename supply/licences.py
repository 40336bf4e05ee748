"""Write the licences of all pinned packages, from the packages' metadata, to the table of docs/licences.md.

    make locks        or, with a recent pip: python -m supply.licences

pip resolves the locks without installing anything (`--dry-run --report`). This needs the package registry but no
environment. Only the text between the two marks is replaced.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from supply.pins import DEFAULT, INCLUDE, ROOT, Pin, Requirements, all_requirements, canonical

PAGE = ROOT / "docs" / "licences.md"
BEGIN, END = "<!-- packages: make locks -->", "<!-- end of packages -->"
HEAD = "| package | version | licence | in `requirements/` |\n|---|---|---|---|\n"
RUN = "run"  # name of the file without a suffix in the table
SHORT = 40  # maximum characters of a licence's name; a longer text is the licence itself
# Licence names in package metadata -> SPDX identifiers. "BSD" without a number of clauses stays as it is.
SPELLED = {
    "apache software license": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache license, version 2.0": "Apache-2.0",
    "apache license": "Apache-2.0", "apache 2.0 license": "Apache-2.0", "mit license": "MIT", "mit licence": "MIT",
    "bsd license": "BSD",
    "bsd 3-clause license": "BSD-3-Clause", "3-clause bsd license": "BSD-3-Clause",
    "boost software license": "BSL-1.0", "isc license": "ISC", "isc license (iscl)": "ISC",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0", "python software foundation license": "PSF-2.0",
    "nvidia proprietary software": "LicenseRef-NVIDIA-Proprietary",
}  # fmt: skip
# Packages whose metadata have no licence name, or the text instead: the licence in their licence file. cuda-toolkit has
# no such file; it only depends on other packages.
READ_IN_FILE = {
    "atheris": "Apache-2.0", "cuda-toolkit": "not said", "jax2onnx": "Apache-2.0", "scipy": "BSD-3-Clause",
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    pin: Pin
    licence: str
    needed: tuple[str, ...]  # names of the requirements files that pin it: run, dev, tpu ...


def licence_of(name: str, metadata: dict) -> str:
    """Return the licence of a package from its metadata, as in pip's report.

    Raises:
      ValueError: if the metadata have no licence.
    """
    if name in READ_IN_FILE:
        return READ_IN_FILE[name]
    lines = (metadata.get("license") or "").strip().splitlines()
    said = [metadata.get("license_expression"), lines[0].strip() if lines else None]
    said += [text.rpartition(" :: ")[2] for text in metadata.get("classifier", []) if text.startswith("License :: ")]
    for text in said:
        if text and text.lower() in SPELLED:
            return SPELLED[text.lower()]
        if text and text == said[0] or text and len(text) <= SHORT and text != "UNKNOWN":
            return text
    raise ValueError(
        f"{name}: expected a licence in its metadata, found none; read its licence file and add it to READ_IN_FILE"
    )


def called(requirements: Requirements) -> str:
    """Return the name of a requirements file in the table."""
    return RUN if requirements.path.name == DEFAULT else requirements.path.stem


def needed_by(files: Iterable[Requirements]) -> dict[Pin, tuple[str, ...]]:
    """Return the files that contain each pin, in order."""
    found: dict[Pin, list[str]] = {}
    for requirements in files:
        for pin in requirements.pins:
            found.setdefault(pin, []).append(called(requirements))
    return {pin: tuple(sorted(names)) for pin, names in sorted(found.items())}


def reported(requirements: Requirements) -> dict[Pin, str]:
    """Return the licences of a lock's own pins, without those of included locks.

    Raises:
      subprocess.CalledProcessError: if pip cannot resolve the lock; pip prints the reason.
      ValueError: if a package's metadata have no licence.
    """
    with tempfile.TemporaryDirectory() as folder:
        report, own = Path(folder, "report.json"), Path(folder, "own.lock")
        lines = requirements.lock.read_text().splitlines(keepends=True)
        own.write_text("".join(line for line in lines if not line.startswith(INCLUDE)))
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet"]
        options = ["--disable-pip-version-check", "--report", str(report), "--requirement", str(own)]
        subprocess.run(command + options, check=True)
        found = {}
        for entry in json.loads(report.read_text())["install"]:
            metadata = entry["metadata"]
            name = canonical(metadata["name"])
            found[Pin(name, metadata["version"])] = licence_of(name, metadata)
        return found


def table(rows: Iterable[Row]) -> str:
    """Return the rows as a Markdown table."""
    return HEAD + "".join(
        f"| {row.pin.name} | {row.pin.version} | {row.licence} | {', '.join(row.needed)} |\n" for row in rows
    )


def read_table(text: str) -> list[Row]:
    """Parse the table in the text of the page; the inverse of `table`.

    Raises:
      ValueError: if the text has no such table.
    """
    matched = re.search(re.escape(f"{BEGIN}\n{HEAD}") + "(.*?)" + re.escape(END), text, re.DOTALL)
    if not matched:
        raise ValueError(f"{PAGE.name}: expected a table between {BEGIN} and {END}, found none; restore the two marks")
    rows = []
    for line in matched[1].splitlines():
        name, version, licence, needed = (cell.strip() for cell in line.strip("|").split("|"))
        rows.append(Row(Pin(name, version), licence, tuple(needed.split(", "))))
    return rows


def main() -> None:
    files = all_requirements()
    needed, licences = needed_by(files), {}
    for requirements in files:
        licences |= reported(requirements)
    rows = table(Row(pin, licences[pin], names) for pin, names in needed.items())
    text = PAGE.read_text(encoding="utf-8")
    read_table(text)
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{rows}{END}{after}", encoding="utf-8")
    print(f"{PAGE.name}: {len(needed)} packages")


if __name__ == "__main__":
    main()
