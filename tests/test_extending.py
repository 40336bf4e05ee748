"""The examples of the pages on extending and on logging, run as they are written."""

import re
import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from fsfm_jax.config.fields import flat
from fsfm_jax.jobs import pretrain
from fsfm_jax.optim import optimizer
from fsfm_jax.resolve.finetune import resolve_finetuning, task_of
from fsfm_jax.resolve.pretrain import STATISTICS, resolve_pretraining
from fsfm_jax.run import writers
from fsfm_jax.run.writers import RunInfo, open_writers
from fsfm_jax.tasks import downstream

DOCS = Path(__file__).parents[1] / "docs"
TABLES = (optimizer.OPTIMIZERS, writers.WRITERS, downstream.TASKS)


def sections(page: str) -> dict[str, list[str]]:
    """The Python blocks of a page by the heading above them."""
    parts = re.split(r"(?m)^## (.+)$", (DOCS / page).read_text())
    blocks = [re.findall(r"(?ms)^```python\n(.*?)^```", text) for text in parts[2::2]]
    return {title: found for title, found in zip(parts[1::2], blocks, strict=True) if found}


class WandB(types.ModuleType):
    """Stands in for Weights & Biases: remembers what it is told."""

    def __init__(self):
        super().__init__("wandb")
        self.told = []

    def init(self, **options):
        self.told.append(("init", options))
        return self

    def log(self, values, step):
        self.told.append((step, values))

    def finish(self):
        self.told.append("finish")


@pytest.fixture
def examples(monkeypatch, tmp_path):
    """Runs blocks in one namespace; tables of the package are as they were afterwards.

    A training of theirs resolves its configuration, writes two steps and trains nothing.
    """
    monkeypatch.chdir(tmp_path)
    for table in TABLES:
        for name in table:
            monkeypatch.setitem(table, name, table[name])
    runs, known = [], [set(table) for table in TABLES]

    def run(config, workdir, stop_after="", writers=()):
        Path(workdir).mkdir(parents=True, exist_ok=True)
        resolved = resolve_pretraining(config, 1000, jax.device_count())
        runs.append(resolved)
        opened = open_writers(resolved.writers, RunInfo(workdir, 0, 2, 2, 16, flat(config)), writers)
        for step in (1, 2):
            opened.write_step(step, {"loss": 0.5 / step, "learning_rate": 1e-3})
        opened.write(2, {"validation/auc": 0.75})
        opened.write_image(2, "reconstruction", np.zeros((4, 4, 3), np.uint8))
        opened.close()

    monkeypatch.setattr(pretrain, "run", run)

    def execute(page: str, title: str, space: dict | None = None) -> dict:
        space = {"runs": runs} if space is None else space
        for block in sections(page)[title]:
            exec(compile(block, f"{page}, {title}", "exec"), space)
        return space

    yield execute
    for table, names in zip(TABLES, known, strict=True):
        for name in table.keys() - names:
            del table[name]


def test_every_example_is_run_by_a_test_here():
    assert set(sections("extending.md")) == {"Add an optimizer", "Add a downstream task", "Add a metric writer"}
    assert set(sections("logging.md")) == {"Weights & Biases", "One writer for several runs"}


def test_an_optimizer_is_added(examples):
    space = examples("extending.md", "Add an optimizer")
    (resolved,) = space["runs"]
    assert (resolved.optimizer.name, resolved.optimizer.options) == ("sgd", (("nesterov", 0.0),))
    assert space["second"]["kernel"] == 3.0


def test_a_downstream_task_is_added(examples):
    space = examples("extending.md", "Add a downstream task")
    config = space["get_config"]()
    config.model.size, config.batch.size, config.duration = "tiny16", 4, "10 steps"
    config.optimizer.warmup, config.checkpoint.every, config.augment.rand_augment = "0 steps", "10 steps", "none"
    task = resolve_finetuning(config, 8, 3, 0, STATISTICS["unit"], 1).task
    card = {"config": flat(config), "class_names": ["a", "b", "c"], "statistics": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    assert type(task) is type(task_of(card)) is space["SmallHead"] and task.model.pooling == "cls"
    assert task.term_weights == {"cross_entropy": 1.0, "head_size": 0.1}
    # Of a network that says 0, 0, 0: two micro-batches of 2 of 4 images have half of each term.
    found = types.SimpleNamespace(logits=np.zeros((2, 3), np.float32))
    params, counts = {"head": {"kernel": np.full((5, 3), 2.0)}}, dict.fromkeys(task.term_weights, 4.0)
    terms = task.terms(params, found, {"label": np.array([0, 2])}, np.eye(3, dtype=np.float32)[[0, 2]], counts)
    np.testing.assert_allclose([terms["cross_entropy"], terms["head_size"]], [np.log(3) / 2, 4 / 2], rtol=1e-6)
    config.model.network = "small_heads"
    with pytest.raises(ValueError, match="model.network: .*did you mean 'small_head'"):
        resolve_finetuning(config, 8, 3, 0, STATISTICS["unit"], 1)


def test_a_metric_writer_is_added(examples, tmp_path):
    examples("extending.md", "Add a metric writer")
    path = tmp_path / "runs" / "csv" / "loss.csv"
    assert path.read_text() == "1,0.500000\n2,0.250000\n"
    info = RunInfo(str(path.parent), 1, 2, 2, 16)  # a run that resumes from step 1
    writers.WRITERS["csv"](info).close()
    assert path.read_text() == "1,0.500000\n"


def test_weights_and_biases_get_numbers_and_no_faces(examples, monkeypatch):
    wandb = WandB()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    space = examples("logging.md", "Weights & Biases")
    (_, options), *logged, last = wandb.told
    assert options["id"] == "runs-demo" and options["config"]["optimizer.name"] == "adamw"
    assert last == "finish" and [step for step, _ in logged] == [1, 2, 2]
    assert logged[1][1]["loss"] == 0.25 and logged[2][1] == {"validation/auc": 0.75}
    examples("logging.md", "One writer for several runs", space)
    assert space["best"].auc == 0.75
