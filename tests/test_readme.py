"""What README and docs claim exists: files, fields, flags, targets, modules, variants."""

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

from fsfm_jax.config import ablate, compare, evaluate, finetune, pretrain
from fsfm_jax.config.recipes import load_recipe
from fsfm_jax.data.sources import HELD_OUT_SAMPLES, SAMPLES
from fsfm_jax.resolve import pretrain as config

ROOT = Path(__file__).parent.parent
FOLDERS = "configs|fsfm_jax|launch|tests|docs|benchmarks|reliability"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
SAMPLE_LICENCES = SAMPLES.parent / "LICENSES.md"
FIELDS = config.flat(pretrain.pretrain())
ALL_FIELDS = FIELDS | {
    name: value
    for make in (finetune.finetune, evaluate.evaluate, compare.compare, ablate.ablate)
    for name, value in config.flat(make()).items()
}
SECTIONS = {name.partition(".")[0] for name in FIELDS if "." in name}
FILE_ENDINGS = ("py", "md", "png", "npy", "jsonl", "txt")


def names(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def every(pattern, paths):
    """All (page, match) of `pattern` in `paths`."""
    return [(path, match) for path in paths for match in re.findall(pattern, path.read_text())]


def anchors(path):
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", TEXTS, ids=names(TEXTS))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(there), f"{target}: no such heading"


def test_named_files_and_make_targets_exist():
    """Inline code such as `fsfm_jax/main.py` or `configs/`."""
    found = [name for _, name in every(rf"`((?:{FOLDERS})/[\w/.\-]*)", TEXTS)]
    assert len(found) > 10
    assert [name for name in found if not (ROOT / name).exists()] == []
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M)
    found = [name for _, name in every(r"(?m)(?:^|`)make ([a-z]+)", TEXTS)]
    assert {"demo", "test"} <= set(found) <= set(targets)


def field_names(text):
    """Dotted names in inline code whose first part is a section of the configuration."""
    code = re.findall(r"`([a-z_]+(?:\.[a-z_0-9]+)+)(?:=[^`]*)?`", text)
    return [name for name in code if name.partition(".")[0] in SECTIONS and not name.endswith(FILE_ENDINGS)]


def test_named_fields_exist():
    found = [name for path in TEXTS for name in field_names(path.read_text())]
    found += [name for _, name in every(r"--config\.([\w.]+)=", TEXTS)]
    assert len(found) > 40
    assert [name for name in found if name not in ALL_FIELDS] == []


def switches(path, heading):
    """The last column of the first table below a heading."""
    below = path.read_text().split(heading, 1)[1]
    rows = re.search(r"(?:^\|.*\n)+", below, re.M)[0].splitlines()[2:]
    return [row.strip("| ").split(" | ")[-1] for row in rows]


def test_the_difference_table_names_no_default():
    """The last column shows what a switch can do, so never what it does anyway."""
    found = switches(ROOT / "docs" / "paper-and-code.md", "## 1. Differences with a switch")
    settings = [re.fullmatch(r"`([\w.]+)=(.+)`", cell).groups() for cell in found]
    assert len({name for name, _ in settings}) == 9
    assert [name for name, value in settings if FIELDS[name] == ast.literal_eval(value)] == []


def test_values_of_fields_are_allowed():
    """Inline code such as `target.rule="frozen"` is a setting that resolves."""
    found = every(r"`([a-z_.]+)=([^`]+)`", PAGES)
    found = [(name, value) for _, (name, value) in found if name in FIELDS]
    assert len(found) > 20
    for name, value in found:
        c = pretrain.pretrain()
        *parents, leaf = name.split(".")
        node = c
        for parent in parents:
            node = node[parent]
        node[leaf] = ast.literal_eval(value)
        config.resolve_pretraining(c, 3_000_000, 8)


def commands():
    """(module, command line) of everything that pages and recipes tell to run."""
    recipes = sorted((ROOT / "configs").glob("*.py"))
    texts = [path.read_text().replace("\\\n", " ") for path in [*TEXTS, *recipes]]
    lines = [line for text in texts for line in text.splitlines()]
    return [(m[1], line) for line in lines if (m := re.search(r"python -m ([\w.]+)", line))]


def test_modules_and_flags_exist():
    found = commands()
    assert {"fsfm_jax.main", "fsfm_jax.prepare.build", "fsfm_jax.export.from_torch"} <= {module for module, _ in found}
    for module, line in found:
        spec = importlib.util.find_spec(module)
        assert spec is not None, module
        if not module.startswith("fsfm_jax"):
            continue
        file = Path(spec.origin)
        program = file.with_name("__main__.py") if spec.submodule_search_locations else file
        defined = re.findall(r"DEFINE_\w+\(\s*\"(\w+)\"", program.read_text())
        # What stands in quotes is handed on to another program.
        for flag in re.findall(r"--(\w+)", re.sub(r'"[^"]*"', "", line)):
            assert flag in defined, f"{module} has no --{flag}: {line}"


def test_flags_in_prose_exist():
    jobs = (
        "main.py", "prepare/build.py", "export/from_torch.py", "export/to_torch.py", "export/serialize.py",
        "apps/predict.py", "apps/serve.py", "analyze/__main__.py",
    )  # fmt: skip
    programs = [*(ROOT / "fsfm_jax" / name for name in jobs), ROOT / "fsfm_jax" / "compile_check" / "__main__.py"]
    defined = [name for path in programs for name in re.findall(r"DEFINE_\w+\(\s*\"(\w+)\"", path.read_text())]
    scripts = [path.read_text() for path in (ROOT / "launch").iterdir() if path.suffix in (".sh", ".sbatch")]
    defined += [name for text in scripts for name in re.findall(r"--([a-z][\w-]+)", text)]
    assert [flag for _, flag in every(r"`--([\w-]+)", PAGES) if flag not in defined] == []


def test_named_configurations_load_and_variants_are_listed():
    """Every FILE.py and FILE.py:VARIANT that is written anywhere."""
    found = every(r"configs/((?:pretrain|finetune|adapter|eval|compare)_\w+)\.py(?::([\w,\-]+))?", PAGES)
    assert len(found) > 10
    for _, (name, variant) in (one for one in found if one[1][1] != "TARGET"):
        load_recipe(f"{name}:{variant}" if variant else name)
    text = (ROOT / "CHANGELOG.md").read_text() + pretrain.vary.__doc__
    assert all(f"`{name}`" in text for name in pretrain.VARIANTS)


def test_every_bundled_photo_has_a_licence_and_the_held_out_are_named_there():
    text = SAMPLE_LICENCES.read_text()
    photos = [p.name for p in SAMPLES.parent.rglob("*") if p.suffix in (".jpg", ".mp4")]
    assert len(photos) > 20
    assert [name for name in photos if name not in text] == []
    # The list of the licence page is that of the code.
    sentence = re.search(r"`samples:heldout` is (.*?);", SAMPLE_LICENCES.read_text())[1]
    single, first, last = re.findall(r"sample(\d_\d)", sentence)
    photo = first[0]
    assert photo == last[0]
    listed = {single, *(f"{photo}_{face}" for face in range(int(first[-1]), int(last[-1]) + 1))}
    assert {f"mit_faceapi_sample{part}.png" for part in listed} == HELD_OUT_SAMPLES
    assert "END OF TERMS AND CONDITIONS" in (ROOT / "LICENSE").read_text()
    text = (SAMPLES.parent / "LICENSE.face-api.txt").read_text()
    assert text.startswith("MIT License\n\nCopyright (c) Vladimir Mandic")
    notice = (ROOT / "NOTICE").read_text()
    assert [name for name in ("LICENSES.md", "LICENSE.face-api.txt", "public domain") if name not in notice] == []


@pytest.mark.parametrize("path", [*TEXTS, SAMPLE_LICENCES], ids=names([*TEXTS, SAMPLE_LICENCES]))
def test_pages_speak_to_strangers(path):
    """No paths of a machine, no notes that only their writers have, no emoji."""
    foreign = r"/work\b|/root\b|/home/|/tmp\b|issue #|RECIPES|\.\./(shared|models|prototypes)"
    foreign += r"|[\u2600-\u27BF\U0001F000-\U0001FAFF]"
    assert re.search(foreign, path.read_text()) is None
