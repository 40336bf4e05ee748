"""The examples of the pages on extending and on logging, run as they are written."""

import dataclasses
import math
import re
import sys
import types
from pathlib import Path

import cloudpickle
import jax
import numpy as np
import pytest
from networks import scaled
from safetensors.numpy import save_file
from tuning import FINETUNING, PRETRAINING, changed

from fsfm_jax import losses, records
from fsfm_jax.config import finetune as finetune_config
from fsfm_jax.config import pretrain as pretrain_config
from fsfm_jax.config.fields import flat
from fsfm_jax.data import masking
from fsfm_jax.data.label_stream import load_labelled
from fsfm_jax.data.labels import open_labelled
from fsfm_jax.data.sources import open_source
from fsfm_jax.data.stream import load_example, mask_batch
from fsfm_jax.jobs import pretrain
from fsfm_jax.models.bases import BASES
from fsfm_jax.models.classifier import ClassifierSpec, initialise, patches_of
from fsfm_jax.models.style import Style
from fsfm_jax.models.vit import SIZES, Encoder, patchify
from fsfm_jax.optim import optimizer
from fsfm_jax.resolve.finetune import resolve_finetuning
from fsfm_jax.resolve.pretrain import resolve_pretraining
from fsfm_jax.resolve.task import task_of
from fsfm_jax.run import writers
from fsfm_jax.run.writers import RunInfo, open_writers
from fsfm_jax.tasks import downstream
from fsfm_jax.tasks.normalisation import STATISTICS
from fsfm_jax.tasks.pretrain import PretrainTask
from fsfm_jax.weights.base_names import NAMINGS
from fsfm_jax.weights.init import open_pretrained

DOCS = Path(__file__).parents[1] / "docs"
TABLES = (optimizer.OPTIMIZERS, writers.WRITERS, downstream.TASKS, masking.STRATEGIES, losses.KINDS, BASES, NAMINGS)


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
        "Add an optimizer", "Add a downstream task", "Add a metric writer", "Add a masking strategy", "Add an ID loss",
        "Change self-blended faces", "Change the image size", "Add a backbone",
    }  # fmt: skip
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


def test_a_masking_strategy_is_added(examples):
    space = examples("extending.md", "Add a masking strategy")
    (resolved,) = space["runs"]
    assert resolved.stream.mask.row.title == "Skin" and space["mask"][:, :49].all()
    # A loader process has the row, which its own table lacks.
    sent = cloudpickle.dumps(resolved.stream.mask)
    del masking.STRATEGIES["skin"]
    mask, _ = masking.draw_masks(cloudpickle.loads(sent), space["bits"], np.arange(2), 0, 1)
    np.testing.assert_array_equal(mask, space["mask"])


def test_self_blended_faces_are_changed(examples):
    space = examples("extending.md", "Change self-blended faces")
    # Lips are replaced, eyes are not.
    mouth, eyes = (np.isin(space["face"]["parsing_map"], classes) for classes in ((7, 8, 9), (4, 5)))
    assert space["mask"][mouth].mean() > 0.5 and space["mask"][eyes].mean() < 0.1


def test_an_id_loss_is_added(examples):
    space = examples("extending.md", "Add an ID loss")
    (resolved,) = space["runs"]
    assert (resolved.loss.kind, resolved.loss.temperature) == ("angle", 0.5)
    online, target = (np.eye(3, 4, k, dtype=np.float32) for k in (0, 1))
    assert float(space["measure"](online, target)) == pytest.approx(np.pi)


def test_an_image_size_is_changed(examples):
    (resolved,) = examples("extending.md", "Change the image size")["runs"]
    assert (resolved.model.patches, resolved.stream.image_size, resolved.model.seen) == (576, 384, 144)
    for name, patch in ((name, size.patch_size) for name, size in SIZES.items()):
        config = changed(pretrain_config.pretrain(), {"model.size": name, "model.image_size": 384})
        tuned = changed(finetune_config.finetune(), {"model.size": name, "model.image_size": 384})
        if 384 % patch == 0:
            assert resolve_pretraining(config, 10**6, 1).model.grid == finetuned(tuned).task.model.grid == 384 // patch
            continue
        for resolve in (lambda c=config: resolve_pretraining(c, 10**6, 1), lambda c=tuned: finetuned(c)):
            with pytest.raises(ValueError, match="model.image_size: .* patch size 14; found 384; use 378 or 392"):
                resolve()


def finetuned(config):
    return resolve_finetuning(config, 10**6, 2, 1, STATISTICS["vggface2"], 1)


def test_networks_train_at_another_image_size():
    """Pretrained on 2 x 2 patches of records of 224 pixels, fine-tuned on 4 x 4."""
    config = changed(pretrain_config.pretrain(), PRETRAINING | {"model.image_size": 32, "model.dtype": "float32"})
    resolved, source = resolve_pretraining(config, 8, 1), open_source("synthetic:2")
    loaded = [load_example(resolved.stream, source[n] | {records.POSITION: n}) for n in range(2)]
    batch = {key: np.stack([one[key] for one in loaded]) for key in loaded[0]}
    assert batch[records.IMAGE].shape == (2, 32, 32, 3) and batch[records.REGION_BITS].shape == (2, 4)
    task = PretrainTask(resolved.model, resolved.loss, STATISTICS["vggface2"])
    params = scaled(jax.eval_shape(task.init, jax.random.key(0)))
    batch = mask_batch(resolved.stream, batch)
    target = task.target_part(params)
    loss, gradient = jax.jit(jax.value_and_grad(
        lambda p: task.loss(p, target, batch, task.denominators(batch), jax.random.key(1))[0]
    ))(params)  # fmt: skip
    assert np.isfinite(loss) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))

    fine = finetuned(changed(finetune_config.finetune(), FINETUNING | {"model.image_size": 64, "mix.probability": 0.0}))
    detector, faces = fine.task, open_labelled("forged:blend:4")
    loaded = [load_labelled(fine.stream, faces[n] | {records.POSITION: n}) for n in range(2)]
    batch = {key: np.stack([one[key] for one in loaded]) for key in loaded[0]}
    assert batch[records.IMAGE].shape == (2, 64, 64, 3)
    start, account = initialise(params, scaled(jax.eval_shape(detector.init, jax.random.key(2))), resolved.model.grid)
    assert account.resized == ("encoder/pos_embed",) and start["encoder"]["pos_embed"].shape == (1, 17, 48)
    loss, gradient = jax.jit(jax.value_and_grad(
        lambda p: detector.loss(p, {}, batch, detector.denominators(batch), jax.random.key(3))[0]
    ))(start)  # fmt: skip
    assert np.isfinite(loss) and np.abs(gradient["encoder"]["pos_embed"]).max() > 0
    # Its card says the size, in the recipe of a run of ours and beside that of an imported detector.
    card = {"config": flat(changed(finetune_config.finetune(), FINETUNING | {"model.image_size": 64})),
            "class_names": ["a", "b"], "statistics": {"mean": (0, 0, 0), "std": (1, 1, 1)}}  # fmt: skip
    assert task_of(card).model.image_size == 64 and task_of(card | {"image_size": 48}).model.image_size == 48
    del card["config"]["model.image_size"]  # of before there was this field
    assert task_of(card).model.image_size == 224


def test_a_backbone_is_added(examples, tmp_path):
    """A file of random numbers by its names, and the same network written out in NumPy."""
    examples("extending.md", "Add a backbone")
    BASES["face_dino"] = dataclasses.replace(BASES["face_dino"], sizes=("tiny16",))
    draw, width, heads = np.random.default_rng(0), 48, 4

    def numbers(*shape):
        return draw.normal(0, 0.3, shape).astype(np.float32)

    state = {
        "cls_token": numbers(1, 1, width), "storage_tokens": numbers(1, 8, width), "rope_embed.periods": numbers(3),
        "patch_embed.proj.weight": numbers(width, 3, 16, 16), "patch_embed.proj.bias": numbers(width),
        "norm.weight": numbers(width), "norm.bias": numbers(width), "mask_token": numbers(1, width),
    }  # fmt: skip
    for name, rows, columns in (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)):
        for block in ("blocks.0", "blocks.1"):
            state[f"{block}.{name}.weight"] = numbers(rows * width, columns * width)
            state[f"{block}.{name}.bias"] = numbers(rows * width)
    for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "ls1.gamma", "ls2.gamma"):
        state |= {f"{block}.{name}": numbers(width) for block in ("blocks.0", "blocks.1")}
    save_file(state, tmp_path / "face_dino.safetensors")

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    # Features k and k + 6 of a head of 12 as a complex number, times exp(i angle): three angles of the row and three of
    # the column. Centres of two rows are pi from that of the image; class token and registers have angle 0.
    slower = 100.0 ** (-np.arange(3) / 3)
    angles = [np.concatenate([row * slower, column * slower]) for row in (-np.pi, np.pi) for column in (-np.pi, np.pi)]
    turns = np.exp(1j * np.concatenate([np.zeros((9, 6)), angles]))

    def rotate(x):
        turned = (x[..., :6] + 1j * x[..., 6:]) * turns
        return np.concatenate([turned.real, turned.imag], axis=-1)

    def attention(x, name):
        products = linear(x, f"{name}.qkv") - np.repeat([0, 1, 0], width) * state[f"{name}.qkv.bias"]  # none of keys
        query, key, value = products.reshape(len(x), 3, heads, -1).transpose(1, 2, 0, 3)
        logits = np.exp(rotate(query) @ rotate(key).swapaxes(1, 2) / np.sqrt(width / heads))
        mixed = (logits / logits.sum(-1, keepdims=True)) @ value
        return linear(mixed.swapaxes(0, 1).reshape(len(x), width), f"{name}.proj")

    def mlp(x, name):
        hidden = linear(x, f"{name}.fc1")
        return linear(hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) / 2, f"{name}.fc2")

    image = draw.normal(0, 1, (32, 32, 3)).astype(np.float32)
    cut = image.reshape(2, 16, 2, 16, 3).transpose(0, 2, 4, 1, 3).reshape(4, -1)  # as a convolution has it
    patches = cut @ state["patch_embed.proj.weight"].reshape(width, -1).T + state["patch_embed.proj.bias"]
    x = np.concatenate([state["cls_token"][0], state["storage_tokens"][0], patches])
    for block in ("blocks.0", "blocks.1"):
        x = x + attention(norm(x, f"{block}.norm1"), f"{block}.attn") * state[f"{block}.ls1.gamma"]
        x = x + mlp(norm(x, f"{block}.norm2"), f"{block}.mlp") * state[f"{block}.ls2.gamma"]

    found, style = open_pretrained(str(tmp_path / "face_dino.safetensors"), "face_dino"), BASES["face_dino"].style
    assert (found.grid, found.origin["size"]) == (14, "tiny16") and "pos_embed" not in found.params["encoder"]
    encoder = Encoder(SIZES["tiny16"], 2, np.float32, "none", learnt_positions=True, style=style)
    with jax.default_matmul_precision("highest"):
        tokens = jax.jit(lambda p, x: encoder.apply({"params": p}, patchify(x, 16)))(
            found.params["encoder"], image[None]
        )
    # Sums of 768 numbers of size 1 in float32.
    np.testing.assert_allclose(tokens[0], norm(x, "norm"), rtol=0, atol=2e-4)
    spec = ClassifierSpec(SIZES["tiny16"], 32, 2, "mean_patches", 0.0, np.float32, "none", style=style)
    assert patches_of(spec, tokens).shape == (1, 4, width)
    with pytest.raises(ValueError, match="registers: expected 0, or more with a class token"):
        Style(class_token=False, registers=1)


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
