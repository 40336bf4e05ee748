"""The examples of the pages on extending and on logging, run as they are written."""

import re
import sys
import types
from pathlib import Path

import cloudpickle
import jax
import numpy as np
import pytest

from fsfm_jax import losses
from fsfm_jax.config.fields import flat
from fsfm_jax.data import masking
from fsfm_jax.jobs import pretrain
from fsfm_jax.optim import optimizer
from fsfm_jax.resolve.pretrain import resolve_pretraining
from fsfm_jax.run import writers
from fsfm_jax.run.writers import RunInfo, open_writers

DOCS = Path(__file__).parents[1] / "docs"
TABLES = (optimizer.OPTIMIZERS, writers.WRITERS, masking.STRATEGIES, losses.KINDS)


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
    assert set(sections("extending.md")) == {
        "Add an optimizer", "Add a metric writer", "Add a masking strategy", "Add an ID loss"
    }  # fmt: skip
    assert set(sections("logging.md")) == {"Weights & Biases", "One writer for several runs"}


def test_an_optimizer_is_added(examples):
    space = examples("extending.md", "Add an optimizer")
    (resolved,) = space["runs"]
    assert (resolved.optimizer.name, resolved.optimizer.options) == ("sgd", (("nesterov", 0.0),))
    assert space["second"]["kernel"] == 3.0


def test_a_metric_writer_is_added(examples, tmp_path):
    examples("extending.md", "Add a metric writer")
    path = tmp_path / "runs" / "csv" / "loss.csv"
    assert path.read_text() == "1,0.500000\n2,0.250000\n"
    info = RunInfo(str(path.parent), 1, 2, 2, 16)  # a run that resumes from step 1
    writers.WRITERS["csv"](info).close()
    assert path.read_text() == "1,0.500000\n"


def test_a_masking_strategy_is_added(examples):
    space = examples("extending.md", "Add a masking strategy")
    (resolved,) = space["runs"]
    assert resolved.stream.mask.row.title == "Skin" and space["mask"][:, :49].all()
    # A loader process has the row, which its own table lacks.
    sent = cloudpickle.dumps(resolved.stream.mask)
    del masking.STRATEGIES["skin"]
    mask, _ = masking.draw_masks(cloudpickle.loads(sent), space["bits"], np.arange(2), 0, 1)
    np.testing.assert_array_equal(mask, space["mask"])


def test_an_id_loss_is_added(examples):
    space = examples("extending.md", "Add an ID loss")
    (resolved,) = space["runs"]
    assert (resolved.loss.kind, resolved.loss.temperature) == ("angle", 0.5)
    online, target = (np.eye(3, 4, k, dtype=np.float32) for k in (0, 1))
    assert float(space["measure"](online, target)) == pytest.approx(np.pi)


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
