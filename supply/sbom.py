"""Write a software bill of materials of all pinned packages, as CycloneDX 1.6 in JSON.

    make sbom        or: python -m supply.sbom OUTPUT

Versions and hashes come from the locks, licences from the table of docs/licences.md. The file has no time and no random
number, so equal locks give equal bytes. A component has the hashes of all files of its version in the package registry;
one of these files is installed.
"""

import json
import re
import sys
from pathlib import Path

from supply.licences import PAGE, RUN, Row, called, needed_by, read_table
from supply.locks import read_lock
from supply.pins import ROOT, Pin, all_requirements

NAME, LICENCE = "fsfm-jax", "Apache-2.0"
# SPDX identifiers that occur on their own in the table; all other names are written as they are.
SPDX = frozenset((
    "0BSD", "AFL-2.1", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CNRI-Python", "ISC", "MIT",
    "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib",
))  # fmt: skip
EXCEPTIONS = frozenset(("LLVM-exception",))
_JOINED = re.compile(r" (?:AND|OR|WITH) ")
LOCKS = "fsfm_jax:locks"  # name of the property that lists a component's locks


def version_of(root: Path = ROOT) -> str:
    """Return the version of fsfm_jax; raise ValueError if the package has none."""
    path = root / "fsfm_jax" / "__init__.py"
    matched = re.search(r'^__version__ = "([^"]+)"$', path.read_text(), re.MULTILINE)
    if not matched:
        raise ValueError(f"{path}: expected a line __version__ = \"...\", found none; add it")
    return matched[1]


def purl_of(pin: Pin) -> str:
    """Return the package URL of a pin."""
    return f"pkg:pypi/{pin.name}@{pin.version.replace('+', '%2B')}"


def licence_entry(licence: str) -> dict:
    """Return a licence in CycloneDX form: an SPDX identifier, an SPDX expression, or a name."""
    parts = _JOINED.split(licence)
    if licence in SPDX:
        return {"license": {"id": licence}}
    if len(parts) > 1 and {*parts} <= SPDX | EXCEPTIONS:
        return {"expression": licence}
    return {"license": {"name": licence}}


def component_of(row: Row, hashes: frozenset[str]) -> dict:
    """Return a package with the hashes of its lock; packages that `pip install fsfm-jax` does not need are optional."""
    purl = purl_of(row.pin)
    return {
        "type": "library",
        "bom-ref": purl,
        "name": row.pin.name,
        "version": row.pin.version,
        "scope": "required" if RUN in row.needed else "optional",
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in sorted(hashes)],
        "licenses": [licence_entry(row.licence)],
        "purl": purl,
        "properties": [{"name": LOCKS, "value": ", ".join(row.needed)}],
    }


def make_bom(root: Path = ROOT) -> dict:
    """Return the bill of materials of a checkout.

    Raises:
      ValueError: if the packages in the table of licences and in the locks differ; `make locks` writes both.
    """
    files = all_requirements(root)
    hashes: dict[Pin, frozenset[str]] = {}
    for requirements in files:
        hashes |= read_lock(requirements.lock)[1]
    rows = read_table((root / PAGE.relative_to(ROOT)).read_text(encoding="utf-8"))
    listed = {row.pin: row.needed for row in rows}
    if listed != needed_by(files) or listed.keys() != hashes.keys():
        names = sorted({pin.name for pin in listed.keys() ^ hashes.keys()})
        raise ValueError(
            f"{PAGE.name}: expected the packages of the locks; differing: {', '.join(names)}; run: make locks"
        )
    own = Pin(NAME, version_of(root))
    components = [component_of(row, hashes[row.pin]) for row in sorted(rows, key=lambda row: row.pin)]
    needed = [one["bom-ref"] for one in components if one["scope"] == "required"]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library", "bom-ref": purl_of(own), "name": own.name, "version": own.version,
                "licenses": [licence_entry(LICENCE)], "purl": purl_of(own),
            },
            "properties": [{"name": LOCKS, "value": ", ".join(map(called, files))}],
        },
        "components": components,
        "dependencies": [{"ref": purl_of(own), "dependsOn": needed}],
    }  # fmt: skip


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m supply.sbom OUTPUT")
    bom = make_bom()
    output = Path(sys.argv[1])
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(bom, indent=1) + "\n", encoding="utf-8")
    print(f"{output}: {len(bom['components'])} packages")


if __name__ == "__main__":
    main()
