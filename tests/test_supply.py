"""What is installed and bundled: every pin has hashes and a licence, and nothing is installed without them."""

import dataclasses
import fnmatch
import json
import re
from pathlib import Path

import pytest

from supply import licences, locks, pins, sbom

ROOT = Path(__file__).parents[1]
FILES = pins.all_requirements()
NAMES = [requirements.path.name for requirements in FILES]
PAGE = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
SECURITY = ROOT / "SECURITY.md"
HASH = "    --hash=sha256:" + "0a" * 32


@pytest.mark.parametrize("requirements", FILES, ids=NAMES)
def test_every_pin_has_hashes_in_the_lock_beside_it_and_no_address_is_written_down(requirements):
    locks.check_lock(requirements)
    for text in (requirements.path.read_text(), requirements.lock.read_text()):
        assert not re.findall(r"(?:https?|file|ftp|git)://|--(?:index|extra-index|find-links|trusted-host)", text)


def test_make_installs_nothing_without_hashes():
    lines = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]
    assert len(lines) >= 5
    # The wheel that was just built is installed without any index and without its requirements.
    for line in (line for line in lines if not re.search(r"--no-index --no-deps .*dist/\*\.whl$", line)):
        named = re.findall(r"--requirement (\S+)", line)
        assert named and "--require-hashes" in line, line
        assert {*named} <= {str(requirements.lock.relative_to(ROOT)) for requirements in FILES}, line


@pytest.mark.parametrize(("text", "complaint"), [
        ("jax>=0.10\n", "requirements.txt, line 1: expected NAME==VERSION, found 'jax>=0.10'"),
        ("# a comment\njax\n", "line 2"),
        ("jax @ https://example.org/jax.whl\n", "line 1"),
        ("dm-tree==1\ndm_Tree==2\n", "line 2: dm-tree is pinned twice"),
    ])  # fmt: skip
def test_requirements_that_pin_nothing(tmp_path, text, complaint):
    path = tmp_path / "requirements.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(complaint)):
        pins.read_requirements(path)


@pytest.mark.parametrize(("lock", "complaint"), [
        (f"-r run.lock\none==1 \\\n{HASH}\ntwo==2 \\\n{HASH} \\\n{HASH}\n", None),
        (f"-r run.lock\none==1 \\\n{HASH}\n", r"missing: Pin\(name='two', version='2'\); unexpected: nothing"),
        (f"one==1 \\\n{HASH}\ntwo==2 \\\n{HASH}\n", "missing: run.lock"),
        (f"-r run.lock\none==1 \\\n{HASH}\ntwo==3 \\\n{HASH}\n", r"unexpected: Pin\(name='two', version='3'\)"),
        (f"one==1 \\\ntwo==2 \\\n{HASH}\n", "found none of one; run: make locks"),
        (f"one==1\n{HASH}\n", "line 1: expected a pin or its hash"),
        ("one==1 \\\n    --hash=sha256:0a\n", "line 2: expected a pin or its hash"),
        (f"--index-url x\none==1 \\\n{HASH}\n", "line 1: expected a pin or its hash"),
    ])  # fmt: skip
def test_locks_that_are_not_those_of_their_requirements(tmp_path, lock, complaint):
    path = tmp_path / "more.txt"
    path.write_text("-r ../requirements.txt\none==1\nTwo==2\n")
    requirements = pins.read_requirements(path)
    with pytest.raises(FileNotFoundError, match="has no more.lock; run: make locks"):
        locks.check_lock(requirements)
    requirements.lock.write_text(lock)
    if complaint is None:
        locks.check_lock(requirements)
        assert locks.read_lock(requirements.lock)[1][pins.Pin("two", "2")] == {"0a" * 32}
        return
    with pytest.raises(ValueError, match=complaint):
        locks.check_lock(requirements)


def test_the_table_of_licences_has_every_pin_and_nothing_else():
    rows = {row.pin: row for row in licences.read_table(PAGE)}
    assert {pin: row.needed for pin, row in rows.items()} == licences.needed_by(FILES)
    assert all(row.licence for row in rows.values())
    read = {row.pin.name: row.licence for row in rows.values() if row.pin.name in licences.READ_IN_FILE}
    assert read == licences.READ_IN_FILE
    assert licences.read_table(f"{licences.BEGIN}\n{licences.table(rows.values())}{licences.END}") == [*rows.values()]


@pytest.mark.parametrize(("metadata", "licence"), [
        ({"license_expression": "Apache-2.0 AND MIT", "license": "x"}, "Apache-2.0 AND MIT"),
        ({"license": "Apache License, Version 2.0"}, "Apache-2.0"),
        ({"license": "MIT License\n\nCopyright (c) 2022 ...", "classifier": []}, "MIT"),
        ({"license": "MIT Licence"}, "MIT"),
        ({"license": "Copyright " + "x" * 60, "classifier": ["License :: OSI Approved :: BSD License"]}, "BSD"),
        ({"license": "UNKNOWN", "classifier": ["A :: B", "License :: OSI Approved :: ISC License (ISCL)"]}, "ISC"),
        ({"license": "Google Cloud Platform Terms of Service"}, "Google Cloud Platform Terms of Service"),
    ])  # fmt: skip
def test_licences_are_told_by_the_metadata(metadata, licence):
    assert licences.licence_of("package", metadata) == licence
    with pytest.raises(ValueError, match="package: expected a licence in its metadata, found none"):
        licences.licence_of("package", {"license": "Copyright " + "x" * 60, "classifier": []})


def test_everything_bundled_has_a_licence():
    """Photographs, maps, models, golden numbers and figures, by the patterns of the first table."""
    bundled = PAGE.partition("## Bundled")[2].partition("##")[0]
    rows = re.findall(r"^\| `(.*?)` \| (.*?) \|", bundled, re.M)
    patterns = [f"{folder}/{pattern}" for folder, files in rows for pattern in re.findall(r"`(.*?)`", files)]
    folders = ("fsfm_jax/data/samples", "fsfm_jax/prepare/models", "fsfm_jax/weights/small", "tests/golden")
    folders += ("tests/corpus", "docs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    # What stands for itself: pages, programs, and the licences.
    others = [path for path in files if path.suffix not in (".md", ".py", ".ipynb") and "LICENSE" not in path.name]
    assert len(others) > 50
    unnamed = [
        name
        for name in (str(path.relative_to(ROOT)) for path in others)
        if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    ]
    assert unnamed == []
    unused = [
        pattern for pattern in patterns if not any(fnmatch.fnmatch(str(p.relative_to(ROOT)), pattern) for p in files)
    ]
    assert unused == []


def test_what_the_security_page_names_is_there_and_pins_compare_by_the_name_of_registries():
    text = SECURITY.read_text(encoding="utf-8")
    named = re.findall(r"`((?:fsfm_jax|tests|benchmarks|docs)/[\w/.\-]+)`", text)
    assert len(named) > 5 and [name for name in named if not (ROOT / name).exists()] == []
    assert not re.search(r"\S+@\S+\.\w+", text), "no address is promised that nobody reads"
    assert pins.canonical("Dm_Tree.x--y") == "dm-tree-x-y"
    assert dataclasses.astuple(pins.Pin("a", "1")) < dataclasses.astuple(pins.Pin("b", "0"))


def test_the_bill_of_materials_has_every_pin_with_its_hashes_and_its_licence():
    bom = sbom.make_bom()
    rows = {row.pin: row for row in licences.read_table(PAGE)}
    components = {pins.Pin(one["name"], one["version"]): one for one in bom["components"]}
    assert components.keys() == rows.keys() and len(components) == len(bom["components"])
    hashes = {pin: found for file in FILES for pin, found in locks.read_lock(file.lock)[1].items()}
    for pin, one in components.items():
        assert {entry["content"] for entry in one["hashes"]} == hashes[pin]
        (licence,) = one["licenses"]
        named = licence.get("expression") or licence["license"].get("id") or licence["license"]["name"]
        assert named == rows[pin].licence
        assert one["scope"] == ("required" if "run" in rows[pin].needed else "optional")
        assert one["purl"] == one["bom-ref"] and one["purl"].startswith(f"pkg:pypi/{pin.name}@")
    run = next(file for file in FILES if file.path.name == pins.DEFAULT)
    (graph,) = bom["dependencies"]
    assert graph["ref"] == f"pkg:pypi/fsfm-jax@{sbom.version_of()}"
    assert graph["dependsOn"] == [components[pin]["purl"] for pin in run.pins]
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert json.dumps(bom) == json.dumps(sbom.make_bom())


@pytest.mark.parametrize(("licence", "entry"), [
        ("MIT", {"license": {"id": "MIT"}}),
        ("MPL-2.0 AND MIT", {"expression": "MPL-2.0 AND MIT"}),
        ("Apache-2.0 WITH LLVM-exception", {"expression": "Apache-2.0 WITH LLVM-exception"}),
        # No identifiers of SPDX: names.
        ("BSD", {"license": {"name": "BSD"}}),
        ("Dual License", {"license": {"name": "Dual License"}}),
        ("MIT AND Something", {"license": {"name": "MIT AND Something"}}),
    ])  # fmt: skip
def test_a_licence_is_an_identifier_an_expression_or_a_name(licence, entry):
    assert sbom.licence_entry(licence) == entry


def test_a_bill_of_materials_needs_a_table_that_has_every_pin(tmp_path):
    for name in ("requirements.txt", "docs/licences.md", "fsfm_jax/__init__.py", "requirements/run.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    # The table is that of all files, and this checkout has one of them.
    with pytest.raises(ValueError, match="licences.md: expected the packages of the locks; differing: .*make locks"):
        sbom.make_bom(tmp_path)
    (tmp_path / "fsfm_jax" / "__init__.py").write_text("")
    with pytest.raises(ValueError, match="expected a line __version__ = .*, found none"):
        sbom.version_of(tmp_path)
    assert sbom.purl_of(pins.Pin("a", "1.0+cpu")) == "pkg:pypi/a@1.0%2Bcpu"
