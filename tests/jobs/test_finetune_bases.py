"""Fine-tuning, adapters and stored features from files of base models, of drawn numbers under their names."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import numpy as np
import official_weights
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from networks import drawn
from tuning import tiny

from fsfm_jax.detection import comparison
from fsfm_jax.detection.encoder import open_encoder
from fsfm_jax.detection.opener import Unsaid
from fsfm_jax.detection.saved import open_saved
from fsfm_jax.export import from_torch, to_torch
from fsfm_jax.jobs import finetune
from fsfm_jax.models.bases import BASES
from fsfm_jax.models.positions import Resizing, resize_positions
from fsfm_jax.models.vit import SIZES, Encoder
from fsfm_jax.resolve.finetune import resolve_finetuning
from fsfm_jax.run.checkpoint import read_parameters
from fsfm_jax.weights.base_names import NAMINGS
from fsfm_jax.weights.encoder_size import shapes_of
from fsfm_jax.weights.init import open_pretrained
from fsfm_jax.weights.names import to_official_array

SIZE, GRID = SIZES["tiny16"], 3
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)


def file_of(folder: Path, base: str) -> str:
    """A file of `base` with images of 48 pixels: each of our arrays under a name of its, in PyTorch's layout."""
    encoder = Encoder(SIZE, GRID, np.float32, "none", learnt_positions=True, style=BASES[base].style)
    params = drawn(shapes_of(encoder, np.zeros((1, GRID**2, SIZE.pixels), np.float32)))
    rows = {ours: theirs for theirs, ours in reversed(NAMINGS[base].rows.items())}
    state = {"visual.attn_pool.probe": np.zeros((1, 1, 48), np.float32)} if base == "pe_core" else {}
    for path, array in flatten_dict({"encoder": params}, sep="/").items():
        block = re.search(r"(?<=block_)\d\d", path)
        row = path.replace(block[0], "{i}") if block else path
        array = to_official_array(path, 0.1 * array, SIZE.patch_size)
        thirds = {f"{row}:{place}": third for place, third in enumerate(np.split(array, 3))} if "qkv" in row else {}
        for ours, piece in ({row: array} if row in rows else thirds).items():
            if ours in rows:  # keys without a bias have none in the file
                state[rows[ours].replace("{i}", str(int(block[0])) if block else "")] = piece
    return official_weights.write(folder / f"{base}.safetensors", state)


FEW = {"duration": "1 steps", "optimizer__warmup": "0 steps", "data__validation": "", "selection__rule": "last",
       "checkpoint__every": "1 steps", "data__train": "forged:blend:16"}  # fmt: skip
ADAPTED = {"tuning__method": "fs_adapter", "features__cache": "cache", "augment__crop": False, "augment__flip": 0.0,
           "augment__erase": 0.0, "mix__probability": 0.0, "model__drop_path": 0.0}  # fmt: skip


LOW_RANK = {"tuning__method": "lora", "tuning__projections": "mlp,qkv", "tuning__blocks": "1",
            "optimizer__base_learning_rate": 1.0}  # fmt: skip


@pytest.mark.parametrize(("base", "fields"), [
    ("dinov3_plus", {}), ("beitv2", ADAPTED), ("dinov2", LOW_RANK),
    ("pe_core", {"tuning__method": "layer_norm", "model__pooling": "cls"}),
])  # fmt: skip
def test_a_file_of_a_base_model_is_fine_tuned(base, fields, tmp_path, monkeypatch):
    monkeypatch.setitem(BASES, base, dataclasses.replace(BASES[base], sizes=("tiny16",)))
    path, workdir = file_of(tmp_path, base), str(tmp_path / "run")
    fields = {name: str(tmp_path / value) if name == "features__cache" else value for name, value in fields.items()}
    finetune.run(tiny(init=path, model__base=base, **FEW, **fields), workdir)
    account = json.loads(Path(workdir, "initialisation.json").read_text())["network"]
    style = BASES[base].style
    tables = [f"encoder/block_0{index}/attn/relative_positions/table" for index in range(2)]
    assert account["resized"] == (tables if style.relative else ["encoder/pos_embed"] if style.positions else [])
    detector = open_saved(workdir)
    assert detector.task.model.style == style and detector.task.model.image_size == 224
    assert detector.card["statistics"] == read_parameters(f"{workdir}/checkpoints")[1]["statistics"]
    if base == "dinov2":  # whose positions LoRA leaves as they start
        table = open_pretrained(path, base).params["encoder"]["pos_embed"]
        fitted = resize_positions(table, 14, True, Resizing(offset=0.1))
        np.testing.assert_array_equal(detector.params["encoder"]["pos_embed"], fitted)
        check_merged(detector, tiny(init=path, model__base=base, **FEW, **fields), workdir)
    features = open_encoder(workdir, Unsaid()).features(PIXELS)
    assert features.shape == (2, 48) and np.isfinite(features).all() and features.std() > 1e-3


def check_merged(detector, config, workdir: str) -> None:
    """The detector of a run with LoRA is a plain network that says what the trained one says."""
    params = read_parameters(f"{workdir}/checkpoints")[0]
    flat = flatten_dict(params, sep="/")
    ups = [path for path in flat if path.endswith("lora_up")]
    assert sorted(ups) == [f"encoder/block_01/{name}/lora_up" for name in ("attn/qkv", "mlp/fc1", "mlp/fc2")]
    assert detector.card["merged"] == "lora" and detector.task.model.lora is None
    assert not [path for path in flatten_dict(detector.params, sep="/") if "lora" in path]
    task = resolve_finetuning(config, 16, 2, 1, detector.task.statistics, 8).task
    faces = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)
    trained = jax.jit(task.log_probabilities)
    before, after = trained(params, faces), jax.jit(detector.task.log_probabilities)(detector.params, faces)
    # Sums of 192 products in float32, to which the update is added behind them or before.
    np.testing.assert_allclose(after, before, rtol=0, atol=2e-5)
    without = unflatten_dict(flat | {path: np.zeros_like(flat[path]) for path in ups}, sep="/")
    assert np.abs(trained(without, faces) - before).max() > 1e-3
    learnt = sum(value.size for path, value in flat.items() if "lora" in path or path.startswith("head/"))
    assert comparison.count(detector.card) == (learnt, sum(value.size for value in flat.values()))


def test_an_imported_base_starts_the_same_network(tmp_path, monkeypatch):
    base = "dinov3_plus"
    monkeypatch.setitem(BASES, base, dataclasses.replace(BASES[base], sizes=("tiny16",)))
    said = from_torch.convert([file_of(tmp_path, base)], str(tmp_path / "run"), base=base)
    assert said[0].startswith(f"{tmp_path}/run: the encoder of {base}, tiny16")
    opened = open_encoder(str(tmp_path / "run"), Unsaid(), base)
    straight = open_encoder(str(tmp_path / f"{base}.safetensors"), Unsaid(), base)
    assert opened.image_size == straight.image_size == 224  # it has no positions that would say another
    np.testing.assert_array_equal(opened.features(PIXELS), straight.features(PIXELS))
    for format in ("official", "timm", "huggingface", "safetensors"):
        with pytest.raises(ValueError, match=base):
            to_torch.convert(str(tmp_path / "run"), format, str(tmp_path / format))
