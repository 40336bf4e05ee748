"""What the project does not do: reach the network, unpickle or evaluate what it reads, or log what it sees."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from light_compiling import ENVIRONMENT

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("fsfm_jax", "launch", "benchmarks", "reliability", "configs", "supply")
    for path in (ROOT / folder).rglob("*.py")
)
NAMES = [str(path.relative_to(ROOT)) for path in SOURCES]
# By stage: event, its arguments, and why.
QUIET = {
    ("imports", "subprocess.Popen", "('uname', ['uname', '-p'], None, None)"): "Python asks for the processor's name",
    ("pretraining", "socket.gethostname", "()"): "a run that is locked says by which machine; nobody is asked",
}
# Modules that run, unpickle or evaluate data.
BANNED_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml", "pty", "telnetlib"}
BANNED_CALLS = {"eval", "exec", "compile", "__import__"}
BANNED_ATTRIBUTES = {
    ("os", "system"), ("os", "popen"), ("torch", "load"), ("tempfile", "mktemp"), ("numpy", "fromfile"),
    ("subprocess", "getoutput"), ("subprocess", "getstatusoutput"),
}  # fmt: skip
CODES_ONLY = "the codes of pickle's instructions, which are read and written without it"
ALLOWED = {
    ("fsfm_jax/weights/pickle_instructions.py", "pickle"): CODES_ONLY,
    ("fsfm_jax/weights/torch_pickle.py", "pickle"): CODES_ONLY,
    ("fsfm_jax/weights/torch_writer.py", "pickle"): CODES_ONLY,
    ("reliability/honest_files.py", "pickle"): "writes honest files; reads none",
}
ARRAY = re.compile(r"array\(|dtype=|\[\s*-?\d[\d.e+-]*(?:\s+-?\d[\d.e+-]*){2,}")


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("watched")
    place = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "tests/watched_process.py", str(folder)], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": place},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "done.json").read_text()) | {"output": done.stdout + done.stderr}


def test_nothing_is_asked_of_the_network_or_unpickled_and_logs_hold_no_pixels(told):
    assert {tuple(event) for event in told["events"]} <= QUIET.keys()
    assert told["sockets"] == [] and told["verdict"] in ("real", "forged")
    # Each of the others says so when it is used.
    assert told["missing"] in ([], ["fsfm_jax.prepare.beam: apache_beam"])
    assert len(told["logged"]) > 4 and "step 2/2" in told["output"]
    for line in (*told["logged"], *told["output"].splitlines()):
        assert not ARRAY.search(line) and len(line) < 1000, line


def test_pixels_would_be_seen():
    for text in ("array([1, 2])", "[[0.1 0.2 0.3]\n [0.4 0.5 0.6]]", "a [  3  -4 1.e-05]", "x dtype=uint8"):
        assert ARRAY.search(text)


def forbidden(source: str) -> list[str]:
    """What a module uses of the banned, by name, in order."""
    tree, found, known = ast.parse(source), [], {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            known |= {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            found += [".".join(pair) for pair in BANNED_ATTRIBUTES if ".".join(pair) in names]
        else:
            names = []
        found += sorted({name.split(".")[0] for name in names} & BANNED_MODULES)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if isinstance(node.func, ast.Name) and node.func.id in BANNED_CALLS:
            found.append(node.func.id)
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            called = known.get(node.func.value.id, node.func.value.id), node.func.attr
            if called in BANNED_ATTRIBUTES:
                found.append(".".join(called))
            if called == ("numpy", "load") and ast.unparse(keywords.get("allow_pickle", node.func)) != "False":
                found.append("numpy.load")
        if ast.unparse(keywords.get("shell", node.func)) == "True":
            found.append("shell")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=NAMES)
def test_data_is_never_run(path):
    name = str(path.relative_to(ROOT))
    assert [used for used in forbidden(path.read_text()) if (name, used) not in ALLOWED] == []


def test_what_is_allowed_is_needed_and_no_more_than_said():
    used = {(name, one) for name, path in zip(NAMES, SOURCES, strict=True) for one in forbidden(path.read_text())}
    assert used == ALLOWED.keys()
    for (name, _), reason in ALLOWED.items():
        asked = re.findall(r"\bpickle\.(\w+)", "".join(re.sub(r"#.*", "", (ROOT / name).read_text())))
        assert asked and (all(map(str.isupper, asked)) if reason == CODES_ONLY else {*asked} == {"dumps"})


@pytest.mark.parametrize(("source", "found"), [
        ("import numpy as np\nnp.load(path, allow_pickle=False)", []),
        ("import numpy as np\nnp.load(path)", ["numpy.load"]),
        ("import numpy\nnumpy.load(path, allow_pickle=True)", ["numpy.load"]),
        ("def f():\n    import pickle as p\n    p.load(file)", ["pickle"]),
        ("from marshal import loads", ["marshal"]),
        ("from os import system", ["os.system"]),
        ("import os\nos.system('x')", ["os.system"]),
        ("import torch\ntorch.load(path)", ["torch.load"]),
        ("import re\nre.compile('x')\neval('1')", ["eval"]),
        ("import subprocess\nsubprocess.run('ls', shell=True)", ["shell"]),
        ("import yaml\nyaml.load(text)", ["yaml"]),
    ])  # fmt: skip
def test_the_banned_would_be_found(source, found):
    assert forbidden(source) == found
