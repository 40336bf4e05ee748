"""The command line `fsfm`: its map, the help of every command, wrong use, exit codes, and recipes by name."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fsfm_jax
from fsfm_jax import cli, command
from fsfm_jax.config import ablate, compare, evaluate, finetune, options, pretrain, study, tabulate
from fsfm_jax.config.fields import flat
from fsfm_jax.config.recipes import find_recipe, list_shipped, load_recipe, name_files, split_size
from fsfm_jax.train import loop
from website.reference import command_page

ROOT = Path(__file__).parents[1]

DECODED = ("predict", "--checkpoint=runs/nothing", "--detector=blazeface", "photo.jpg")

# One process asks every command, since all of them need JAX. Flags are global, so each command starts without any.
ASK = """
import contextlib, io, json, sys
from absl import flags, logging
of_absl = set(flags.FLAGS)
from fsfm_jax import cli
answers = []
for line in json.load(sys.stdin):
    for name in set(flags.FLAGS) - of_absl:
        delattr(flags.FLAGS, name)
    for module in ("fsfm_jax.main", "fsfm_jax.compile_check.__main__"):  # these define flags when they are imported
        sys.modules.pop(module, None)
    said, told = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        try:
            cli.main(line)
        except SystemExit as end:
            code = end.code
    answers.append((code, said.getvalue(), told.getvalue()))
json.dump(answers, sys.stdout)
"""


@pytest.fixture(scope="module")
def answers() -> dict[tuple[str, ...], tuple[int, str, str]]:
    """Exit code, standard output and standard error of command lines."""
    options = ("--help", "--chekpoint=x", "--confg=x", "--version")
    lines = [(name, option) for name in cli.COMMANDS for option in options]
    forms = ("jax", "onnx-int8", "timm", "deepfakebench")
    lines += [DECODED] + [("export", f"--format={form}", "--help") for form in forms]
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=ROOT, input=json.dumps(lines), capture_output=True, text=True, check=True
    )
    return dict(zip(lines, json.loads(done.stdout), strict=True))


def offered(answers: dict) -> dict[str, set[str]]:
    """What this version offers of all that docs/stability.md promises to keep."""
    options = {
        f"{name} --{option}" for name in cli.COMMANDS
        for line, (_, said, _) in answers.items() if line[0] == name and line[-1] == "--help"
        for option in re.findall(r"^  --(\w+):", said, re.MULTILINE)
    }  # fmt: skip
    jobs = (pretrain.pretrain, finetune.finetune, evaluate.evaluate, compare.compare, ablate.ablate, study.study,
            tabulate.tabulate)  # fmt: skip
    return {
        "options": options,
        "exit codes": set(re.findall(r"^  (\d+) ", cli.EXIT_CODES, re.MULTILINE)),
        "recipes": set(list_shipped()),
        "fields": {f"{job.__name__} {name}" for job in jobs for name in flat(job())},
        "python": set(fsfm_jax.__all__),
    }


@pytest.mark.parametrize("kind", ["options", "exit codes", "recipes", "fields", "python"])
def test_what_was_promised_is_still_there(answers, kind):
    """An entry leaves the list with a new major version, after a deprecation (docs/stability.md)."""
    promised = json.loads((ROOT / "tests" / "golden" / "promises.json").read_text())
    assert promised[kind] and not set(promised[kind]) - offered(answers)[kind]


def ended(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    told = capsys.readouterr()
    return end.value.code, told.out, told.err


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_the_help_is_a_map_of_all_commands(capsys, arguments):
    code, said, told = ended(capsys, *arguments)
    assert (code, told) == (0, "")
    listed = said.partition("commands:")[2].partition("exit codes")[0]
    assert re.findall(r"(?m)^  ([a-z-]+) +\S", listed) == [*cli.COMMANDS]


def test_the_version_is_that_of_the_package(capsys, answers):
    assert ended(capsys, "--version") == (0, f"fsfm_jax {fsfm_jax.__version__}\n", "")
    for name in cli.COMMANDS:
        assert answers[name, "--version"] == [0, f"fsfm_jax {fsfm_jax.__version__}\n", ""]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_examples_and_every_option_a_help_text(answers, name):
    code, said, told = answers[name, "--help"]
    assert (code, told) == (0, "")
    examples = re.findall(r"(?m)^  (fsfm .+)$", said.partition("examples:")[2])
    assert examples and all(example.startswith(f"fsfm {name} ") for example in examples)
    shown = re.findall(r"(?m)^  --(\w+): ?(.*)$", said.partition(f"options of fsfm {name}:")[2])
    assert shown and all(len(about.partition(" (default")[0].split()) > 1 for _, about in shown), shown
    used = {option for example in examples for option in re.findall(r" --(\w+)", example)}
    others = ("jax", "onnx-int8", "deepfakebench") if name == "export" else ()
    other = "".join(answers[name, f"--format={form}", "--help"][1] for form in others)
    assert used <= {option for option, _ in shown} | {*re.findall(r"(?m)^  --(\w+):", other)}


def test_the_page_of_the_site_has_every_command_and_every_option(answers):
    helps = {(name, ""): answers[name, "--help"][1] for name in cli.COMMANDS}
    helps |= {("export", form): answers["export", f"--format={form}", "--help"][1] for form in ("jax", "deepfakebench")}
    page = command_page(helps)
    assert all(f"\n## `fsfm {name}`\n" in page for name in cli.COMMANDS)
    shown = [option for text in helps.values() for option in re.findall(r"(?m)^  --(\w+): ", text)]
    assert len(shown) > 80 and re.findall(r"(?m)^\| `--(\w+)` \|", page) == shown
    with pytest.raises(ValueError, match="fsfm serve: expected options as"):
        command_page({("serve", ""): "About.\n\noptions of fsfm serve:\n  port\n"})


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_misspelt_option_is_refused_with_the_one_that_was_meant(answers, name):
    has_config = name in ("train", "evaluate", "compile-check")
    option, meant = ("confg", "config") if has_config else ("chekpoint", "checkpoint")
    code, said, told = answers[name, f"--{option}=x"]
    assert (code, said, told.count("\n")) == (2, "", 1), told
    if name not in ("prepare", "import", "sign", "verify"):  # which have nothing of that name
        assert f"did you mean '{meant}'?" in told
    assert f"see fsfm {name} --help" in told


def test_a_face_detector_is_not_taken_for_a_recipe_and_an_export_shows_the_options_of_its_format(answers):
    code, said, told = answers[DECODED]
    assert (code, said) == (1, "") and "photo.jpg: there is no such file" in told, told
    assert "--platforms:" in answers["export", "--format=jax", "--help"][1]
    assert "--pooling:" in answers["export", "--format=timm", "--help"][1]
    assert "--predictions:" in answers["export", "--format=deepfakebench", "--help"][1]


@pytest.mark.parametrize("word, meant", [("trian", "train"), ("exprot", "export"), ("compile_check", "compile-check")])
def test_an_unknown_command_is_refused_with_the_one_that_was_meant(capsys, word, meant):
    said = f"error: fsfm: there is no command {word!r}; did you mean {meant!r}?; see fsfm --help\n"
    assert ended(capsys, word) == (2, "", said)


def test_exit_codes_are_those_of_the_code():
    codes = dict(re.findall(r"(?m)^  (\d+) +(.+)", cli.EXIT_CODES))
    assert [*codes] == ["0", "1", "2", "3", "75", "130", "141", "143"]
    assert options.WRONG_USE == 2 and "command line" in codes["2"]
    assert loop.TRY_AGAIN == 75 and "same command" in codes["75"]
    assert command.INTERRUPTED == 130 and "Ctrl-C" in codes["130"]
    assert command.BROKEN_PIPE == 141 and "head" in codes["141"]
    assert command.TERMINATED == 143 and "SIGTERM" in codes["143"]
    page = (ROOT / "docs" / "predicting.md").read_text()
    assert {*re.findall(r"\b\d+\b", " ".join(re.findall(r"(?m)^\| ([\d, ]+) \|", page)))} <= {*codes}


def test_recipes_are_found_by_name(tmp_path):
    assert find_recipe("pretrain_vitb") == find_recipe(str(ROOT / "configs" / "pretrain_vitb.py")) == (
        ROOT / "configs" / "pretrain_vitb.py"
    )
    own = tmp_path / "mine.py"
    own.write_text("from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({'seed': 3})\n")
    assert load_recipe(str(own)).seed == 3
    assert load_recipe("finetune_dfd:vitl,scratch").init == "scratch"
    assert load_recipe("finetune_dfd:vitl").model.size == "vit_l16"
    assert load_recipe("finetune_dfd").model.size == "vit_b16"
    path = list_shipped()["finetune_dfd"]
    assert name_files(["--config=finetune_dfd:vitl,scratch", "--workdir=finetune_dfd", "-config", "finetune_dfd"]) == [
        f"--config={path}:vitl,scratch", "--workdir=finetune_dfd", "-config", str(path),
    ]  # fmt: skip
    # Which options take a recipe is the command's to say: --detector names a face detector elsewhere.
    assert name_files(["--detector=dlib", "-detector", "blazeface"]) == ["--detector=dlib", "-detector", "blazeface"]
    assert name_files(["--detector=finetune_dfd"], ("config", "detector")) == [f"--detector={path}"]
    # A path goes to who opens it, also where nothing is.
    assert name_files(["--config=none/mine.py:a"]) == ["--config=none/mine.py:a"]


@pytest.mark.parametrize("name, text", [
        ("finetune_dfd_vitl", "finetune_dfd_vitl is spelt finetune_dfd:vitl since version 1.0"),
        ("configs/adapter_fas_vits.py", "configs/adapter_fas_vits.py is spelt configs/adapter_fas.py:vits since"),
        ("pretrain_vitbb", "found no pretrain_vitbb; did you mean 'pretrain_vitb'?"),
    ])  # fmt: skip
def test_former_and_misspelt_recipes_are_refused_with_the_right_name(name, text):
    with pytest.raises(FileNotFoundError, match=re.escape(text)):
        name_files([f"--config={name}"])
    with pytest.raises(FileNotFoundError, match=re.escape(text)):
        load_recipe(name)


def test_a_recipe_that_is_no_python_is_refused(tmp_path):
    (tmp_path / "recipe.txt").touch()
    with pytest.raises(ValueError, match=r"config: expected a file that ends in \.py, found .*recipe\.txt"):
        load_recipe(str(tmp_path / "recipe.txt"))
    found = [split_size(variant) for variant in ("", "vitl", "vits,a,b", "a,vits")]  # a variant begins with a size
    assert found == [("vitb", ""), ("vitl", ""), ("vits", "a,b"), ("vitb", "a,vits")]


