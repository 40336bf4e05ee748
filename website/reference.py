"""Make the reference pages of the site from the code: configuration fields, commands and the Python interface.

The help of a field is its comment in `fsfm_jax/config`, behind it or above it. A field without one has that of the
field of the same name in another job.
"""

import ast
import functools
import importlib
import inspect
import re
import sys
import tokenize
from collections.abc import Callable, Mapping

from absl import flags
from ml_collections import ConfigDict

from fsfm_jax import cli, command
from fsfm_jax.config import ablate, compare, evaluate, finetune, pretrain, study, tabulate
from fsfm_jax.config.fields import RANGES, flat

# In the order in which help is looked for in other jobs.
JOBS: dict[str, Callable[[], ConfigDict]] = {
    "pretrain": pretrain.pretrain, "finetune": finetune.finetune, "evaluate": evaluate.evaluate,
    "compare": compare.compare, "ablate": ablate.ablate, "study": study.study, "tabulate": tabulate.tabulate,
}  # fmt: skip
NESTED = ("alarms", "skip_limit")  # functions that make a section
GENERAL = "general"  # section of the fields without a dot
# What others import, call or extend: headings and the modules below them.
PYTHON = {
    "fsfm_jax": "fsfm_jax.apps.public",
    **{name: name for name in (
        "fsfm_jax.config.recipes", "fsfm_jax.losses", "fsfm_jax.optim.optimizer", "fsfm_jax.run.writers",
        "fsfm_jax.tasks.base",
    )},
}  # fmt: skip
OPTION = re.compile(r"  --(\w+): (.*?)(?: \(default: (.*)\))?")
CHOICES, STATED = re.compile(r"^<([^>]+)>: "), r"\1: "  # of an enumeration
QUOTE = "'"
Helps = Mapping[tuple[str, str], str]  # help text by command and --format, "" for the usual one


def make_pages() -> dict[str, str]:
    """Return all generated pages by the names they have in the site."""
    pages = {f"reference/config-{job}.md": config_page(job) for job in JOBS}
    return pages | {"reference/cli.md": command_page(ask_help()), "reference/python.md": python_page()}


@functools.cache
def comments_of(make: Callable[..., ConfigDict]) -> dict[str, str]:
    """Return the comments of all fields that a function of `fsfm_jax.config` sets, by dotted name, in its order."""
    lines = inspect.getsource(make).splitlines(keepends=True)
    tokens = tokenize.generate_tokens(iter(lines).__next__)
    comments = {one.start[0]: one.string.lstrip("# ") for one in tokens if one.type == tokenize.COMMENT}
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse("".join(lines))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "c.update":
            found |= comments_of(_called(make, node.args[0]))
        if not isinstance(node, ast.Assign) or not ast.unparse(node.targets[0]).startswith("c."):
            continue
        name = ast.unparse(node.targets[0]).removeprefix("c.")
        first = node.lineno
        while lines[first - 2].lstrip().startswith("#"):
            first -= 1
        about = [comments[line] for line in (*range(first, node.lineno), node.end_lineno) if line in comments]
        found[name] = " ".join(about)
        if isinstance(node.value, ast.Call) and ast.unparse(node.value).split("(")[0].endswith(NESTED):
            found |= {f"{name}.{below}": text for below, text in comments_of(_called(make, node.value)).items()}
    return found


def _called(make: Callable, node: ast.expr) -> Callable[..., ConfigDict]:
    """Return the function that an expression such as `pretrain.alarms(loss=1.0)` in `make` calls."""
    found: object = inspect.getmodule(make)
    for word in ast.unparse(node).split("(")[0].split("."):
        found = getattr(found, word)
    assert inspect.isfunction(found), ast.unparse(node)
    return found


def help_of(job: str, field: str) -> str:
    """Return the help of a field; ValueError if no job has a comment on it."""
    for make in (JOBS[job], *JOBS.values()):
        if text := comments_of(make).get(field):
            return text[0].upper() + text[1:].removesuffix(".") + "."
    raise ValueError(f"{field} of {job}: expected a comment on it in fsfm_jax/config, found none; write what it means")


def range_of(field: str) -> str:
    """Return what `fields.RANGES` allows as a sentence, "" for a field that is not there."""
    if field not in RANGES:
        return ""
    low, high, included = RANGES[field]
    least = f"{'At least' if included else 'More than'} {low}"
    return f" {least}." if high == float("inf") else f" {least} and at most {high:,}."


def config_page(job: str) -> str:
    """Return the page of a job's configuration: every field with its default, its help and its range."""
    sections: dict[str, list[str]] = {}
    fields = flat(JOBS[job]())
    for field in (name for name in comments_of(JOBS[job]) if name in fields):
        default = fields[field]
        value = "not set" if default is None else f'`"{default}"`' if isinstance(default, str) else f"`{default}`"
        about = _cell(help_of(job, field) + range_of(field))
        row = f"| `{field}` | {_breakable(value)} | {about} |"
        sections.setdefault(field.partition(".")[0] if "." in field else GENERAL, []).append(row)
    parts = [f"# Fields of `{job}`", str(inspect.getdoc(JOBS[job]))]
    parts += ["Set a field with `--config.FIELD=VALUE` on the command line, or in a recipe."]
    for section, rows in sections.items():
        parts += [f"## {section}", "\n".join(["| field | default | meaning |\n|---|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def ask_help() -> Helps:
    """Return the help text of every command and format; for a process of its own, since flags are global."""
    found = {}
    for name, chosen in cli.COMMANDS.items():
        for number, spelt in enumerate(chosen.modules):
            known = {*flags.FLAGS}
            sys.modules.pop(spelt, None)  # some define their flags when they are imported, and serve two commands
            module = importlib.import_module(spelt)
            if hasattr(module, "define_flags"):
                module.define_flags()
            form = module.FORMATS[0] if number else ""
            found[name, form] = command.help_text(module, f"fsfm {name}", () if number else chosen.examples)
            for flag in {*flags.FLAGS} - known:
                delattr(flags.FLAGS, flag)
    return found


def command_page(helps: Helps) -> str:
    """Return the page of the command line.

    Raises:
      ValueError: a help text of another form.
    """
    parts = ["# Command line", f"```text\n{cli.describe()}\n```"]
    for (name, form), text in helps.items():
        about, _, options = text.partition(f"\noptions of fsfm {name}:\n")
        about, _, examples = about.partition("\nexamples:\n")
        rows = [OPTION.fullmatch(line) for line in options.splitlines()]
        if not rows or None in rows:
            raise ValueError(f"fsfm {name}: expected options as `  --NAME: HELP`, found {options!r}")
        parts.append(f"### `fsfm {name} --format={form}`" if form else f"## `fsfm {name}`")
        if examples:
            parts.append("\n".join(["```", *(line.strip() for line in examples.strip().splitlines()), "```"]))
        parts += [about.strip(), "| option | default | meaning |\n|---|---|---|"]
        for option, said, default in (row.groups() for row in rows if row):
            value = f"`{default.strip(QUOTE)}`" if default else ""
            parts[-1] += f"\n| `--{option}` | {value} | {_cell(CHOICES.sub(STATED, said))} |"
    return "\n\n".join(parts) + "\n"


def python_page() -> str:
    """Return the page of the Python interface, for mkdocstrings to fill."""
    parts = ["# Python interface", "The names below `fsfm_jax` are stable. The other modules are those to extend."]
    for heading, module in PYTHON.items():
        parts += [f"## `{heading}`", f"::: {module}"]
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    """Return text for a cell of a table."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _breakable(value: str) -> str:
    """Return a long default, with places where its line may break."""
    return _cell(value.replace(",", ", ")) if len(value) > 40 else _cell(value)
