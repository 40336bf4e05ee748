"""The house rules, read from the source: who may import whom, sizes of files, docstrings, typed excepts."""

import ast
import functools
import graphlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "fsfm_jax"
PROGRAMS = ("configs", "benchmarks", "reliability")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in (PACKAGE, *PROGRAMS)
    for path in sorted((ROOT / folder).rglob("*.py"))
}
MODULES = sorted(FILES)
MAX_LINES = 300
MAX_LOOSE = 8  # modules at the top of the package

# A package imports itself and the lines above its own.
TIERS = (
    "regions text", "records", "config data losses metrics models optim partition", "command run tasks",
    "prepare train", "resolve", "weights", "figures", "detection", "analyze export jobs", "apps compile_check",
    "cli main",
)  # fmt: skip
# Programs around the package import it, themselves and these.
MAY_USE = {"configs": "", "benchmarks": "configs", "reliability": "benchmarks configs"}
# Recipes are read without JAX, so they meet the fields of configurations alone.
RECIPES_MEET = "fsfm_jax.config"

# Where each library is used; a library that is not in this table is used nowhere.
HOMES = {
    "numpy": "fsfm_jax benchmarks reliability",
    "absl": "fsfm_jax benchmarks reliability",
    "ml_collections": "fsfm_jax configs reliability",
    "jax": "fsfm_jax benchmarks reliability",
    "flax": "fsfm_jax",
    "optax": "fsfm_jax.optim fsfm_jax.train",
    "orbax": "fsfm_jax.run.checkpoint fsfm_jax.run.checkpoint_manager reliability.orbax_v1",
    "grain": "fsfm_jax.data.stream",
    "tensorflow_datasets": "fsfm_jax.data fsfm_jax.prepare",
    "google": "fsfm_jax.data",  # protobuf, for messages of damaged metadata
    "etils": "fsfm_jax.data fsfm_jax.figures.faces fsfm_jax.figures.picture_file fsfm_jax.run reliability",
    "array_record": "fsfm_jax.prepare.shard",
    "apache_beam": "fsfm_jax.prepare.beam",
    "tqdm": "fsfm_jax.prepare.preparation fsfm_jax.run.console",
    "tensorboardX": "fsfm_jax.run.tensorboard",
    "av": "fsfm_jax.prepare.media benchmarks reliability",
    "pi_heif": "fsfm_jax.prepare.media.heif_file",
    "cv2": "fsfm_jax.apps fsfm_jax.data fsfm_jax.figures fsfm_jax.prepare benchmarks reliability",
    "PIL": "fsfm_jax.data fsfm_jax.prepare reliability",
    "h5py": "fsfm_jax.prepare.media.hdf5_file reliability",
    "dlib": "fsfm_jax.prepare.detect.dlib_hog",
    "ai_edge_litert": "fsfm_jax.prepare.tflite",
    "facer": "fsfm_jax.prepare.parse.farl",
    "pyarrow": "fsfm_jax.apps.result_parts fsfm_jax.detection.prediction_file",
    "matplotlib": "fsfm_jax.figures",
    "scipy": "fsfm_jax.apps.tracks fsfm_jax.metrics.calibration fsfm_jax.metrics.isotonic",
    "ml_dtypes": "fsfm_jax.weights",
    "safetensors": "fsfm_jax.weights.safetensors_file",
    "huggingface_hub": "fsfm_jax.weights.hub_client",
    "cryptography": "fsfm_jax.weights.signature",
    "jax2onnx": "fsfm_jax.weights.onnx_file",
    "onnx": "fsfm_jax.weights.onnx_fusion fsfm_jax.weights.onnx_int8",
    "onnxruntime": "fsfm_jax.weights fsfm_jax.prepare.parse.bisenet benchmarks.runtimes",
    "openvino": "fsfm_jax.weights.openvino_network benchmarks.runtimes",
    "starlette": "fsfm_jax.apps",
    "uvicorn": "fsfm_jax.apps.serve",
    "atheris": "reliability.fuzz_worker",
    # Our steps beside the same ones in plain PyTorch, for who has it installed.
    "torch": "fsfm_jax.prepare.parse.farl benchmarks.speed benchmarks.torch_step",
    "timm": "benchmarks.torch_step",
}
WITHOUT_JAX = ("config", "data", "prepare", "apps.read_worker")


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def tree(module: str) -> ast.Module:
    return parse(FILES[module])


def imports(module: str) -> set[str]:
    """Full names of everything a module imports, also inside functions."""
    return names_in(import_statements(FILES[module]), module)


@functools.cache
def import_statements(path: Path) -> list[ast.stmt]:
    return [node for node in ast.walk(parse(path)) if isinstance(node, ast.Import | ast.ImportFrom)]


def top_imports(module: str) -> set[str]:
    """Full names of what a module imports when it is imported itself."""
    return names_in(tree(module).body, module)


def names_in(nodes: Iterable[ast.AST], module: str) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            # `from fsfm_jax import records` imports the module fsfm_jax.records, not the package.
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & FILES.keys()
            found |= submodules or {node.module}
    return found


def place(module: str) -> str:
    """The first word below the package, or the name of the program that a module belongs to."""
    parts = module.split(".")
    return parts[1] if parts[0] == PACKAGE and len(parts) > 1 else parts[0]


def allowed(module: str) -> set[str]:
    """The places whose modules `module` may import."""
    own = place(module)
    if own == PACKAGE:
        return {PACKAGE}
    if own in PROGRAMS:
        below = {RECIPES_MEET.partition(".")[2]} if own == "configs" else {*" ".join(TIERS).split(), PACKAGE}
        return {own, *MAY_USE[own].split(), *below}
    tier = next((number for number, names in enumerate(TIERS) if own in names.split()), None)
    assert tier is not None, f"{module} has no place in TIERS: say which packages it may import"
    return {own, PACKAGE, *" ".join(TIERS[:tier]).split()}


def is_ours(name: str) -> bool:
    return name.split(".")[0] in (PACKAGE, *PROGRAMS)


def misplaced(module: str) -> list[str]:
    """What the module imports against the tables, a sentence each."""
    names, found = imports(module), []
    upward = [name for name in names if is_ours(name) and place(name) not in allowed(module)]
    if upward:
        found.append(f"{module} may import {', '.join(sorted(allowed(module)))}; found {', '.join(sorted(upward))}")
    foreign = {name.split(".")[0] for name in names if not is_ours(name)} - sys.stdlib_module_names
    away = [
        library
        for library in foreign
        if not any(f"{module}.".startswith(f"{home}.") for home in HOMES.get(library, "").split())
    ]
    if away:
        found.append(f"{module} imports {', '.join(sorted(away))}, which HOMES does not allow there")
    return found


def test_modules_import_only_what_their_place_allows():
    found = [sentence for module in MODULES for sentence in misplaced(module)]
    assert not found, "\n".join(found)


def test_modules_do_not_import_each_other_in_circles():
    graph = {module: {name for name in imports(module) if name in FILES} - {module} for module in MODULES}
    assert len([*graphlib.TopologicalSorter(graph).static_order()]) == len(MODULES)


def test_every_home_and_every_place_is_used():
    """No row outlives what it allowed."""
    used = {module: {name.split(".")[0] for name in imports(module)} for module in MODULES}
    for library, homes in HOMES.items():
        for home in homes.split():
            assert any(library in used[m] for m in MODULES if f"{m}.".startswith(f"{home}.")), (library, home)
    places = {place(module) for module in MODULES} - {PACKAGE, *PROGRAMS}
    assert places == {*" ".join(TIERS).split()}
    loose = [m for m in MODULES if m.count(".") == 1 and m.startswith(PACKAGE) and FILES[m].name != "__init__.py"]
    assert len(loose) <= MAX_LOOSE, loose


# Who does not ask for that parser needs no torch, who does not ask for that writer no tensorboardX, who fetches nothing
# no huggingface_hub, who signs nothing no cryptography, and who draws nothing does not wait for matplotlib.
@pytest.mark.parametrize(
    ("owner", "libraries"),
    [
        ("prepare.parse.farl", {"torch", "facer"}), ("run.tensorboard", {"tensorboardX"}), ("figures", {"matplotlib"}),
        ("weights.hub_client", {"huggingface_hub"}), ("weights.signature", {"cryptography"}),
        ("weights.onnx_network", {"onnxruntime"}), ("weights.openvino_network", {"openvino"}),
        ("weights.onnx_int8", {"onnx", "onnxruntime"}),
    ],
)  # fmt: skip
def test_what_is_slow_and_seldom_needed_is_imported_inside_of_functions(owner, libraries):
    modules = [m for m in MODULES if f"{m}.".startswith(f"fsfm_jax.{owner}.")]
    for module in modules:
        top = [node for node in tree(module).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {alias.name for node in top for alias in node.names}
        names |= {node.module for node in top if isinstance(node, ast.ImportFrom)}
        assert not libraries & {name.split(".")[0] for name in names}, module
        every = [node.name for node in ast.walk(tree(module)) if isinstance(node, ast.alias)]
        assert not any("pyplot" in name for name in every), f"{module}: pyplot keeps every figure"
    assert libraries <= {name.split(".")[0] for module in modules for name in imports(module)}


def reach(start: str, imported: Callable[[str], set[str]]) -> Iterator[tuple[str, set[str]]]:
    """Every module that importing `start` imports, import after import, with the libraries that it names itself."""
    reached, todo = set(), {start}
    while todo:
        module = todo.pop()
        reached.add(module)
        names = imported(module)
        yield module, {name.split(".")[0] for name in names}
        # Importing a.b imports a as well.
        parts = {".".join(name.split(".")[:length]) for name in names for length in range(1, name.count(".") + 2)}
        todo |= (parts & FILES.keys()) - reached


def test_recipes_loader_processes_and_preparation_never_meet_jax():
    starts = tuple(f"{PACKAGE}.{name}" for name in WITHOUT_JAX) + ("configs",)
    for start in (m for m in MODULES if m.startswith(starts)):
        # Printing a configuration is instant.
        slow = {"numpy", "tensorflow_datasets"} if start.startswith(("configs", "fsfm_jax.config")) else set()
        for module, libraries in reach(start, imports):
            assert not (slow | {"jax", "flax", "optax", "orbax"}) & libraries, (start, module)


@pytest.mark.parametrize("start", ["fsfm_jax.detection.predictor", "fsfm_jax.apps.judging", "fsfm_jax.apps.readers"])
def test_a_prediction_starts_without_the_libraries_of_training(start):
    """Each takes 0.5 to 1.5 s to import, which the first verdict would wait for."""
    for module, libraries in reach(start, top_imports):
        assert not {"orbax", "grain", "tensorflow_datasets", "scipy", "matplotlib", "optax"} & libraries, module


def offences(module: str) -> Iterator[str]:
    """What is wrong with a file: its length, its name, an except without a type, docstrings that are missing."""
    source = tree(module)
    lines = len(FILES[module].read_text().splitlines())
    if lines > MAX_LINES:
        yield f"{FILES[module]} has {lines} lines: split it"
    if {"utils", "util", "helpers", "misc", "common"} & set(module.split(".")):
        yield f"{module}: a name that says nothing"
    bare = [n.lineno for n in ast.walk(source) if isinstance(n, ast.ExceptHandler) and n.type is None]
    if bare:
        yield f"{FILES[module]}: bare except in lines {bare}"
    # The file's own docstring says what its entry point does, and each flag what it is.
    known = ("main", "define_flags", "get_config")
    missing = [
        node.name
        for node in source.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and node.name not in known
        and not ast.get_docstring(node)
    ]
    if missing:
        yield f"{module}: no docstring in {', '.join(missing)}"
    if source.body and not ast.get_docstring(source):
        yield f"{module}: no docstring at its top"


def test_files_are_short_have_telling_names_typed_excepts_and_docstrings():
    found = [sentence for module in MODULES for sentence in offences(module)]
    assert not found, "\n".join(found)


def test_the_rules_catch_what_they_are_for(tmp_path, monkeypatch):
    module, offender = "fsfm_jax.data.utils", tmp_path / "offender.py"
    monkeypatch.setitem(FILES, module, offender)
    offender.write_text(
        "def late():\n    from fsfm_jax.train import loop\n    import jax.numpy as jnp\n    import orbax.checkpoint\n"
    )
    assert imports(module) == {"fsfm_jax.train.loop", "jax.numpy", "orbax.checkpoint"}
    upward, away = misplaced(module)
    assert upward.startswith("fsfm_jax.data.utils may import ") and upward.endswith("; found fsfm_jax.train.loop")
    assert away == "fsfm_jax.data.utils imports orbax, which HOMES does not allow there"
    with pytest.raises(AssertionError, match="no place in TIERS"):
        allowed("fsfm_jax.somewhere")
    other = tmp_path / "other.py"
    monkeypatch.setitem(FILES, module, other)
    other.write_text("try:\n    pass\nexcept:\n    pass\ndef late():\n    pass\n" + "\n" * MAX_LINES)
    assert [sentence.partition(": ")[2] for sentence in offences(module)] == [
        "split it", "a name that says nothing", "bare except in lines [3]", "no docstring in late",
        "no docstring at its top",
    ]  # fmt: skip
