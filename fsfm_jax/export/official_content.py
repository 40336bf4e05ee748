"""What the official code saves in its `.pth` files, made of our networks.

The scaler of mixed precision is that of a fresh run where ours has none: official code refuses an empty one on a GPU.
"""

import json
import logging
import math
from collections import OrderedDict

import numpy as np

from fsfm_jax.config.fields import accumulation, flat, horizon_of, to_steps
from fsfm_jax.detection.detector import Detector
from fsfm_jax.detection.saved import read_carried
from fsfm_jax.models.adapter import CONCAT
from fsfm_jax.models.antispoof import AntiSpoofSpec
from fsfm_jax.models.fsfm import REGRESSED
from fsfm_jax.models.lora import merge
from fsfm_jax.models.style import PLAIN
from fsfm_jax.optim.optimizer import OPTIMIZERS
from fsfm_jax.optim.schedules import warmup_cosine
from fsfm_jax.weights import names
from fsfm_jax.weights.official_arguments import EPOCHS_DONE, options_of
from fsfm_jax.weights.official_optimizer import Settings, official_optimizer
from fsfm_jax.weights.plain_arrays import base_named
from fsfm_jax.weights.run_reader import OpenedRun, whole_epochs
from fsfm_jax.weights.torch_writer import Options

LOG = logging.getLogger("fsfm_jax")
SCALER = {
    "scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 0,
}  # fmt: skip
_TABLES = {
    (False, False): names.CLASSIFIER,
    (False, True): names.CLASSIFIER_ADAPTER,
    (True, False): names.ANTISPOOF,
    (True, True): names.ANTISPOOF_ADAPTER,
}


def pretraining_contents(run: OpenedRun) -> tuple[int, dict, dict | None]:
    """Return the number of the last epoch, and the content of the files of the online and the target network.

    An imported run that was not resumed keeps everything that its files said.

    Raises:
      ValueError: a run without a number of epochs, or networks that the official code does not have.
    """
    if run.epochs is None:
        raise ValueError("--format=official: nothing says how many epochs were done; expected a pretraining of FSFM")
    if not run.spec.reconstructs:
        raise ValueError(
            "--format=official: the official network has a pixel decoder, and this run, with loss.masked_weight and "
            "loss.region_weight 0, has none; export its encoder with another format"
        )
    if run.spec.rep_decoded == REGRESSED:
        raise ValueError(
            "--format=official: the official network has no latent regressor (model.target_view 4b); export its "
            "encoder with another format"
        )
    online = _state(run, run.params, "online")
    shapes = {name: array.shape for name, array in online.items()}
    said = run.item["official"] if "official" in run.item else {}
    epoch = said["epoch"] if "epoch" in said else whole_epochs(run.epochs, run.step) - 1
    options = said["args"] if isinstance(said.get("args"), dict) else _options(run)
    name = run.config.optimizer.name
    if name not in OPTIMIZERS or OPTIMIZERS[name].counterpart is None:
        # Without the key official code loads the weights and starts its own optimizer, with its own settings.
        LOG.warning(
            "The files have weights and no moments: official training uses AdamW and cannot resume with those of %s. "
            "It starts from these weights with its own optimizer, at its first epoch", name,
        )  # fmt: skip
        optimizer = {}
    else:
        settings = _settings(run)
        optimizer = {"optimizer": official_optimizer(run.moments, shapes, settings, run.spec.size.patch_size)}
    rest = {
        **optimizer,
        "epoch": epoch,
        "scaler": said["scaler"] if "scaler" in said else SCALER,
        "args": Options(options),
    }
    target = None if run.target is None else {"model": _state(run, run.target, "target")} | rest
    return epoch, {"model": online} | rest, target


def pack_finetuned(detector: Detector) -> tuple[str, dict]:
    """Name and content of the file of a fine-tuned network: without the optimizer, which a detector does not keep.

    Raises:
      ValueError: a network that the official code would compute in another way.
    """
    tokens = detector.task.model.norm_over != "features" or detector.task.model.reduction
    if not tokens and "official" not in detector.card:
        raise ValueError(
            "--format=official: the official network of anti-spoofing scales over tokens, this one has "
            "model.norm_over: features, and its scores would be others; use safetensors or export.serialize"
        )
    model, state = detector.task.model, rename_finetuned(detector)
    options = Options(json.loads(json.dumps(detector.card["config"])))
    if isinstance(model, AntiSpoofSpec):
        official = detector.card["official"] if "official" in detector.card else {}
        unknown = dict.fromkeys(("valid_arg", "best_model_EER", "best_model_ACER", "best_model_ACC"))
        return "checkpoint_run_0.pth.tar", {
            "epoch": detector.card["origin"]["epoch"] if _has_epoch(detector) else detector.card["step"],
            "state_dict": state,
            **unknown,
            "threshold": _threshold(detector),
            **{key: value for key, value in official.items() if key in unknown},
        }
    official = detector.card["official"] if "official" in detector.card else {}
    return "checkpoint-min_val_loss.pth", {
        "model": state,
        "epoch": official["epoch"] if "epoch" in official else _last_epoch(detector.card),
        "scaler": official["scaler"] if "scaler" in official else SCALER,
        "args": Options(official["args"]) if isinstance(official.get("args"), dict) else options,
    }


def rename_finetuned(detector: Detector) -> OrderedDict:
    """Return the official state dict of a detector: LoRA's updates added, and what an imported one carries put back.

    Raises:
      ValueError: a network that the official code does not have.
    """
    model = detector.task.model
    if model.style != PLAIN:
        raise ValueError(
            f"the official networks have a plain ViT, and that of {base_named(model.style)} is another: use "
            "export.serialize"
        )
    if model.reduction is not None and model.insertion != CONCAT:
        raise ValueError(
            "the official networks have FS-Adapter behind the encoder, its output next to the features; this one has "
            f"tuning.insertion {model.insertion}: use export.serialize"
        )
    if not isinstance(model, AntiSpoofSpec) and model.unit_features:
        raise ValueError(
            "the official networks do not scale their features to length 1, and this one does (model.unit_features): "
            "use export.serialize"
        )
    params = detector.params if model.lora is None else merge(detector.params, model.lora)
    table = _TABLES[isinstance(model, AntiSpoofSpec), model.reduction is not None]
    state = names.finetuned_to_official(params, table, model.size.patch_size)
    state |= read_carried(detector.name) if "official" in detector.card else _fresh(detector, table)
    return _order(state, table)


def _fresh(detector: Detector, table: names.NameTable) -> dict[str, np.ndarray]:
    """Make zeros for arrays that the official network has and does not use; strict loading needs them."""
    shapes = {"weight": (2, 2 * detector.task.model.size.width), "bias": (2,)}
    return {name: np.zeros(shapes[name.rpartition(".")[2]], np.float32) for name in table.unused}


def _state(run: OpenedRun, params: dict, network: str) -> OrderedDict:
    state = names.to_official(params, run.spec)
    carried = run.carried[network] if network in run.carried else {}
    return _order(state | carried, names.PRETRAINING)


def _order(state: dict, table: names.NameTable) -> OrderedDict:
    # Arrays under two names stay one, so that a file has them once.
    whole = {id(array): np.ascontiguousarray(array) for array in state.values()}
    return OrderedDict((name, whole[id(state[name])]) for name in names.official_order(state, table))


def _settings(run: OpenedRun) -> Settings:
    c = run.config
    size, examples = c.batch.size, max(run.examples, 1)
    peak, total, warmup = c.optimizer.base_learning_rate * size / 256, 1.0, 0.0
    if run.examples:
        total, warmup = (
            to_steps(text, name, examples, size)
            for name, text in (("horizon", horizon_of(flat(c))), ("optimizer.warmup", c.optimizer.warmup))
        )
    # What the optimizer holds is the rate of its last step; steps are counted from 0.
    rate = float(warmup_cosine(max(run.step - 1, 0), peak, c.optimizer.min_learning_rate, warmup, total))
    if "official" in run.item:  # without data there is no schedule; official code sets it again anyway
        said = run.item["official"].get("args")
        rate = said["lr"] if isinstance(said, dict) and type(said.get("lr")) is float else peak
    o = c.optimizer
    return Settings(rate, o.beta1, o.beta2, o.epsilon, o.weight_decay)


def _options(run: OpenedRun) -> dict:
    c = run.config
    parts = accumulation(c.batch.size, c.batch.per_device, 1, c.batch.accumulation)
    return options_of(flat(c), run.epochs_of, parts, run.spec.image_size) | {EPOCHS_DONE: run.epochs}


def _last_epoch(card: dict) -> int:
    """Return the epoch, counted from 0, in which the step of the detector was."""
    examples = sum(source["examples"] for source in card["data"]) if "data" in card else 0
    return max(math.ceil(card["step"] * card["config"]["batch.size"] / examples) - 1, 0) if examples else 0


def _has_epoch(detector: Detector) -> bool:
    return detector.card["origin"] is not None and "epoch" in detector.card["origin"]


def _threshold(detector: Detector) -> float | None:
    """Return the threshold of videos at equal error rates, or what an imported file said."""
    origin = detector.card["origin"]
    if origin is not None and "threshold" in origin:
        return origin["threshold"]
    kept = detector.thresholds("video")
    return kept[0].value if kept else None
