"""The house rules, read from the source: who may import whom, sizes of files, docstrings, typed excepts."""

import ast
import functools
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "fsfm_jax"
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in (PACKAGE, "configs", "benchmarks", "launch")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
MODULES = sorted(FILES)
MAX_LINES = 300
# Our steps beside the same ones in plain PyTorch, for who has it installed.
AGAINST_TORCH = ("benchmarks.speed", "benchmarks.torch_step")

# What a module may import besides the standard library; the longest name that fits counts. In our own names
# `fsfm_jax.` is left out; `package` is fsfm_jax/__init__.py itself, for its version.
PREPARE = "package plain records regions data.photo data.folder data.statistics prepare numpy cv2 PIL tqdm "
PREPARE += "array_record tensorflow_datasets "
DATA = "records regions data numpy cv2 "
AV = ("decoding", "frame_picture", "libav")  # what decodes videos; OpenCV's reader of videos is used nowhere
MODEL = "numpy jax flax optax "
UPPER = f"{MODEL} records regions data models losses optim partition tasks metrics checkpoint report train workdir "
RULES = {
    "fsfm_jax": "",
    "fsfm_jax.text": "",
    "fsfm_jax.records": "numpy",
    "fsfm_jax.regions": "numpy",
    "fsfm_jax.data": DATA,
    "fsfm_jax.data.rand_augment": DATA + "PIL",
    "fsfm_jax.data.resizing": DATA + "PIL",
    "fsfm_jax.data.sources": DATA + "plain tensorflow_datasets etils google",
    "fsfm_jax.data.labels": DATA + "tensorflow_datasets etils google",
    "fsfm_jax.data.statistics": DATA + "etils",
    "fsfm_jax.data.stream": DATA + "grain",
    "fsfm_jax.prepare": PREPARE,
    "fsfm_jax.prepare.beam": PREPARE + "apache_beam",
    "fsfm_jax.prepare.build": PREPARE + "absl",
    **{f"fsfm_jax.prepare.media.{name}": PREPARE + "av" for name in AV},
    "fsfm_jax.prepare.media.hdf5_file": PREPARE + "h5py",
    "fsfm_jax.prepare.media.heif_file": PREPARE + "pi_heif av",
    "fsfm_jax.prepare.detect.dlib_hog": PREPARE + "dlib",
    "fsfm_jax.prepare.tflite": PREPARE + "ai_edge_litert",
    "fsfm_jax.prepare.parse.farl": PREPARE + "facer torch",
    "fsfm_jax.prepare.parse.bisenet": PREPARE + "uniface onnxruntime",
    "fsfm_jax.prepare.manifests": "plain prepare.manifests prepare.sampling prepare.media data.folder",
    "fsfm_jax.models": MODEL + "models",
    "fsfm_jax.losses": MODEL,
    "fsfm_jax.optim": MODEL + "optim",
    "fsfm_jax.partition": MODEL,
    "fsfm_jax.metrics": "numpy metrics",
    # What a checkpoint and a folder of a run are kept whole by.
    "fsfm_jax.run.disk": "etils",
    "fsfm_jax.run.digests": "plain numpy jax etils",
    "fsfm_jax.run.lock": "disk workdir jax",
    "fsfm_jax.run.workdir": "etils disk export.whole_file",
    "fsfm_jax.run.writers": MODEL + "tqdm workdir",
    "fsfm_jax.run.checkpoint": "checkpoint_manager digests disk partition numpy jax etils orbax",
    "fsfm_jax.run.checkpoint_manager": "digests etils orbax",
    "fsfm_jax.tasks": MODEL + "models losses metrics tasks",
    "fsfm_jax.train": UPPER,
    "fsfm_jax.export": UPPER + "export",
    "fsfm_jax.run.whole_file": "",
    "fsfm_jax.weights.torch_writer": "numpy ml_dtypes export.whole_file",
    "fsfm_jax.weights.official_run": UPPER + "config configs fields export",
    # Programs that put whole checkpoints into other formats stand above detectors and jobs' configurations.
    "fsfm_jax.weights.run_reader": UPPER + "config configs fields imported export run_identity ml_collections",
    "fsfm_jax.export.official_content": UPPER + "detection fields export",
    "fsfm_jax.export.sidecar": UPPER + "detection export",
    "fsfm_jax.export.from_torch": UPPER
    + "config configs detection fields imported pretrained run_identity export absl",
    "fsfm_jax.export.to_torch": UPPER + "detection export absl",
    "fsfm_jax.export.serialize": UPPER + "package absl config detection export fields",
    "fsfm_jax.weights.artifact": "jax numpy metrics export.sidecar_file",
    "fsfm_jax.weights.onnx_artifact": "numpy metrics export.artifact onnxruntime",
    "fsfm_jax.weights.sidecar_file": "metrics.thresholds",
    "fsfm_jax.run.foreign_file": "",
    "fsfm_jax.weights.onnx_file": "models tasks export.onnx_artifact jax numpy jax2onnx onnxruntime",
    # Files of strangers are read by little code: no jax, no torch, nothing that unpickles.
    "fsfm_jax.weights.pickle_instructions": "",
    "fsfm_jax.weights.official_file": "numpy flax export",
    "fsfm_jax.weights.numpy_pickle": "",
    "fsfm_jax.weights.torch_pickle": "export.pickle_instructions export.numpy_pickle",
    "fsfm_jax.weights.torch_file": "export.torch_pickle numpy ml_dtypes",
    "fsfm_jax.weights.safetensors_file": "numpy ml_dtypes export.whole_file",
    "fsfm_jax.analyze": UPPER + "analyze cv2",
    "fsfm_jax.figures.faces": "records data numpy cv2 etils",
    "fsfm_jax.analyze.encoders": UPPER + "detection export pretrained",
    "fsfm_jax.analyze.features": "analyze numpy sklearn",
    "fsfm_jax.analyze.galleries": UPPER + "analyze config detection export",
    "fsfm_jax.analyze.__main__": "analyze apps data detection export numpy absl",
    # Files of strangers are decoded without jax, in processes of their own.
    "fsfm_jax.apps": "apps plain",
    "fsfm_jax.apps.found_faces": "numpy",
    "fsfm_jax.apps.reading": "records data.resizing prepare apps numpy cv2",
    "fsfm_jax.apps.read_worker": "prepare apps",
    "fsfm_jax.apps.wire": "records apps numpy",
    "fsfm_jax.detection.predictor": MODEL + "records analyze detection export metrics apps",
    "fsfm_jax.apps.verdict": "numpy metrics apps",
    "fsfm_jax.apps.caution": "metrics apps",
    "fsfm_jax.apps.scoring": "numpy apps",
    "fsfm_jax.apps.outputs": "metrics plain apps",
    "fsfm_jax.apps.explanation": "numpy analyze data.photo apps",
    "fsfm_jax.apps.predict": "absl detection prepare apps",
    "fsfm_jax.apps.access": "starlette",
    "fsfm_jax.apps.uploads": "starlette",
    "fsfm_jax.apps.detect_answer": "apps numpy cv2",
    "fsfm_jax.apps.mask_answer": "apps regions data.masking models analyze export numpy jax",
    "fsfm_jax.apps.web": "apps data.masking starlette",
    "fsfm_jax.apps.serve": "apps detection export records absl uvicorn",
    "fsfm_jax.config.fields": "ml_collections",
    "fsfm_jax.resolve.pretrain": UPPER + "fields configs ml_collections",
    # A job puts everything together; main chooses the job.
    "fsfm_jax.train.program": UPPER,
    # A finished detector: what it says of data, what it is worth, what is written of it.
    "fsfm_jax.detection": UPPER + "analyze detection export finetune_config report_spec run_identity",
    "fsfm_jax.detection.opener": "config data.relabelled detection export fields models",
    "fsfm_jax.detection.official_import": UPPER + "configs detection export fields",
    "fsfm_jax.detection.prediction_file": "numpy pyarrow plain workdir",
    "fsfm_jax.detection.literature": "",
    "fsfm_jax.detection.tables": "report_spec detection.published",
    "fsfm_jax.detection.repeats": "detection.tables workdir",
    "fsfm_jax.resolve.report": "data metrics fields ml_collections",
    "fsfm_jax.weights.init": MODEL + "records config models tasks export run_identity",
    "fsfm_jax.jobs.evaluate": UPPER + "config configs detection fields report_spec ml_collections",
    "fsfm_jax.jobs.tabulate": "configs detection fields finetune report_spec ml_collections",
    "fsfm_jax.resolve.finetune": UPPER + "config fields report_spec configs ml_collections",
    "fsfm_jax.jobs.finetune_inputs": UPPER
    + "config detection fields finetune_config pretrained run_identity ml_collections",
    "fsfm_jax.jobs.finetune": UPPER
    + "detection finetune_config finetune_inputs program recipe_check report run_identity run_lock ml_collections",
    "fsfm_jax.jobs.recipe_check": UPPER + "finetune_config ml_collections",
    "fsfm_jax.train.identity": UPPER + "export.foreign_file fields program ml_collections",
    "fsfm_jax.weights.run_import": UPPER + "export program run_identity",
    "fsfm_jax.jobs.pretrain": UPPER + "config fields imported analyze ml_collections program run_identity run_lock",
    "fsfm_jax.resolve.compare": "configs fields finetune_config models optim ml_collections",
    "fsfm_jax.jobs.compare": UPPER
    + "analyze compare_config configs detection export.foreign_file fields finetune finetune_config finetune_inputs "
    "ml_collections recipe_check run_lock",
    "fsfm_jax.config.options": "fields absl ml_collections",
    "fsfm_jax.run.cluster": "fields jax",
    "fsfm_jax.main": "package pretrain finetune evaluate tabulate compare train.loop workdir fields command cluster "
    "absl ml_collections",
    "configs": "fsfm_jax.config.pretrain fsfm_jax.config.finetune fsfm_jax.config.adapter fsfm_jax.config.compare fsfm_jax.config.evaluate "
    "fsfm_jax.config.tabulate ml_collections",
    "benchmarks": UPPER
    + "ml_dtypes prepare config configs detection export finetune finetune_config benchmarks absl cv2",
    "benchmarks.speed": UPPER + "config configs finetune finetune_config pretrain program benchmarks absl "
    "ml_collections torch",
    "benchmarks.torch_step": MODEL + "models tasks torch timm benchmarks",
    "benchmarks.predict": "benchmarks configs data detection fields finetune_config prepare numpy jax cv2 absl",
    "benchmarks.tpu": "benchmarks configs launch absl",
    "benchmarks.determinism": UPPER + "config configs pretrain benchmarks absl",
    "reliability.kill_chains": UPPER + "config configs digests pretrain benchmarks etils absl",
    # The readers of foreign files under a fuzzer; its own package is installed for it alone.
    "reliability.fuzz_judge": "package",
    "benchmarks.video": "benchmarks data prepare numpy cv2 av",
    "reliability.fuzz_media": "benchmarks records data prepare numpy cv2 h5py av PIL",
    "reliability.fuzz_text": "benchmarks config configs data detection.exported_detector digests apps export prepare "
    "numpy absl etils ml_collections",
    "reliability.fuzz_worker": "benchmarks atheris",
    "launch": UPPER
    + "config fields finetune finetune_config pretrain report_spec detection launch absl ml_collections",
}


@functools.cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def tree(module: str) -> ast.Module:
    return parse(FILES[module])


def imports(module: str) -> set[str]:
    """Full names of everything a module imports, also inside functions."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            # `from fsfm_jax import records` imports the module fsfm_jax.records, not the package.
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & FILES.keys()
            found |= submodules or {node.module}
    return found


def rule(module: str) -> list[str]:
    """The names that `module` may import."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in RULES and (length > 1 or len(parts) == 1 or parts[0] != PACKAGE):
            own = {path.split(".")[1] for path in RULES if path.startswith(PACKAGE + ".")}
            return [
                PACKAGE if name == "package" else f"{PACKAGE}.{name}" if name.split(".")[0] in own else name
                for name in RULES[prefix].split()
            ]
    raise AssertionError(f"{module} has no place in RULES: say what it may import")


def within(name: str, allowed: str) -> bool:
    return name == allowed or (name.startswith(allowed + ".") and allowed != PACKAGE)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_place_allows(module):
    allowed = rule(module)
    foreign = [
        name
        for name in imports(module)
        if name.split(".")[0] not in sys.stdlib_module_names and not any(within(name, other) for other in allowed)
    ]
    assert not foreign, f"{module} may import {', '.join(allowed)}; found {', '.join(sorted(foreign))}"


@pytest.mark.parametrize(("library", "owners"), [
        ("orbax", ["fsfm_jax.run.checkpoint", "fsfm_jax.run.checkpoint_manager"]),
        ("grain", ["fsfm_jax.data.stream"]),
        ("pyarrow", ["fsfm_jax.detection.prediction_file"]),
        ("av", ["reliability.fuzz_media", "benchmarks.video", *(f"fsfm_jax.prepare.media.{name}" for name in AV)]),
    ])
def test_some_libraries_are_met_in_one_place(library, owners):
    assert [module for module in MODULES if library in {name.split(".")[0] for name in imports(module)}] == owners


def test_videos_are_not_decoded_by_opencv():
    # It hands out the buffer of another file where FFmpeg refuses a frame.
    assert not [module for module in MODULES if "VideoCapture" in FILES[module].read_text()]


def test_torch_is_met_by_one_optional_parser_only():
    # Inside its functions: who does not ask for that parser needs no torch.
    owners = {module for module in MODULES if "torch" in {name.split(".")[0] for name in imports(module)}}
    (owner,) = owners - {*AGAINST_TORCH}
    assert owner == "fsfm_jax.prepare.parse.farl"
    top = [node for node in tree(owner).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not {"torch", "facer"} & {alias.name for node in top for alias in node.names}


@pytest.mark.parametrize("library", ["torchvision", "timm", "tensorflow", "keras"])
def test_other_frameworks_are_imported_nowhere(library):
    users = {module for module in MODULES if library in {name.split(".")[0] for name in imports(module)}}
    assert not users - {*AGAINST_TORCH}


def test_loader_processes_and_preparation_never_meet_jax():
    # Not only directly: nothing that they import, import after import, may lead to it.
    readers = f"{PACKAGE}.apps.read_worker"
    for start in (m for m in MODULES if m.startswith((f"{PACKAGE}.data", f"{PACKAGE}.prepare", readers))):
        reached, todo = set(), {start}
        while todo:
            module = todo.pop()
            reached.add(module)
            names = imports(module)
            assert not {"jax", "flax", "optax", "orbax"} & {name.split(".")[0] for name in names}, (
                start,
                module,
            )
            # Importing a.b imports a, too.
            parts = {".".join(name.split(".")[:length]) for name in names for length in range(1, name.count(".") + 2)}
            todo |= (parts & FILES.keys()) - reached


@pytest.mark.parametrize("module", MODULES)
def test_no_exception_is_caught_without_a_type(module):
    bare = [n.lineno for n in ast.walk(tree(module)) if isinstance(n, ast.ExceptHandler) and n.type is None]
    assert not bare, f"{FILES[module]}: bare except in lines {bare}"


@pytest.mark.parametrize("module", MODULES)
def test_a_file_is_short_and_has_a_name_that_says_something(module):
    lines = len(FILES[module].read_text().splitlines())
    assert lines <= MAX_LINES, f"{FILES[module]} has {lines} lines: split it"
    assert not {"utils", "util", "helpers", "misc", "common"} & set(module.split(".")) or module == "fsfm_jax.config.pretrain"


@pytest.mark.parametrize("module", MODULES)
def test_public_functions_and_classes_have_docstrings(module):
    source = tree(module)
    public = [
        node
        for node in source.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    ]
    # The file's own docstring says what its entry point does.
    missing = [n.name for n in public if not ast.get_docstring(n) and n.name not in ("main", "get_config")]
    assert not missing, f"{module}: no docstring in {', '.join(missing)}"
    assert ast.get_docstring(source) or not source.body, f"{module}: no docstring at its top"


def test_the_rules_catch_what_they_are_for(tmp_path, monkeypatch):
    offender = tmp_path / "offender.py"
    offender.write_text("def late():\n    from fsfm_jax.train import loop\n    import jax.numpy as jnp\n")
    for place in ("fsfm_jax.data.masking", "fsfm_jax.models.vit", "fsfm_jax.prepare.shard", "fsfm_jax.losses"):
        monkeypatch.setitem(FILES, place, offender)
        assert imports(place) == {"fsfm_jax.train.loop", "jax.numpy"}
        with pytest.raises(AssertionError, match="may import .*found .*fsfm_jax.train.loop"):
            test_a_module_imports_only_what_its_place_allows(place)
    with pytest.raises(AssertionError, match="no place in RULES"):
        rule("fsfm_jax.somewhere")
