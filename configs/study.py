"""The study: does pretraining on real faces help to detect forged ones? It runs on any folders of pictures.

    make study DATA=FOLDER
    python -m fsfm_jax.main --config=configs/study.py --workdir=runs/study --config.folder=FOLDER

Every folder becomes a task, and every initialisation is trained on it with three seeds. The variant `measured` has the
tasks, initialisations and sources of docs/study.md. Hardware: CPU. Measured: `measured`, in docs/study.md; the default
was not run.
"""

from ml_collections import ConfigDict

from fsfm_jax.config import study
from fsfm_jax.config.pretrain import unknown_variant

VARIANTS = ("measured",)
REALS, UNSEEN = "yonsei_real,congress", "stylegan2,stylegan3"
MASKS = {"MAE random": "random", "MAE FRP": "frp", "MAE CRFR-R": "crfr_r", "MAE CRFR-P": "crfr_p"}
COMPONENTS = {
    "no region loss": {"loss.region_weight": 0.0},
    "no instance loss": {"model.instance_discrimination": False},
}
PRETRAINED = ("FSFM", *MASKS, *COMPONENTS)
PROBES = ",".join(f"{name} probe" for name in PRETRAINED)
ADAPTED = ("FSFM", "MAE random")
FROZEN = PROBES + "," + ",".join(f"{name} adapter" for name in ADAPTED)
TASKS = (
    f"portraits: real={REALS}; fake=gan_portraits; test=gan_portraits,{UNSEEN},diffusion_sfhq; control=utkface; "
    f"arms=scratch,MAE random,MAE FRP,MAE CRFR-R,MAE CRFR-P,FSFM,{','.join(COMPONENTS)},{FROZEN}",
    f"diffusion: real={REALS}; fake=diffusion_sfhq; test=diffusion_sfhq,gan_portraits,{UNSEEN}; control=utkface; "
    f"arms=MAE random,FSFM,{FROZEN}",
    "parts: real=yonsei_real; fake=yonsei_fake; test=yonsei_fake; control=utkface; "
    f"arms=MAE random,FSFM,{FROZEN}",
    f"no forgeries: real=congress,faces; fake=blended; against=yonsei_real; test=yonsei_fake,gan_portraits,{UNSEEN},"
    "diffusion_sfhq; control=utkface; arms=FSFM long",
)
PROBE = {
    "tuning.method": "linear_probe", "duration": "60 epochs", "optimizer.warmup": "2 epochs",
    "checkpoint.every": "6 epochs", "batch.size": 64, "batch.per_device": 64, "optimizer.base_learning_rate": 0.3,
    "optimizer.weight_decay": 0.0, "augment.flip": 0.0, "features.cache": "runs/study_features",
}  # fmt: skip
ADAPTER = PROBE | {
    "tuning.method": "fs_adapter", "loss.contrast": 0.01, "duration": "100 epochs", "checkpoint.every": "10 epochs",
    "optimizer.base_learning_rate": 0.01,
}  # fmt: skip
LONG = {"duration": "1600 steps", "optimizer.warmup": "80 steps", "checkpoint.every": "400 steps"}
MAE = {"loss.region_weight": 0.0, "model.instance_discrimination": False}


def get_config(variant: str = "") -> ConfigDict:
    c = study.study()
    if not variant:
        return c
    if variant not in VARIANTS:
        raise unknown_variant(variant, VARIANTS)
    c.pretrain_on, c.tasks = "congress,faces", " | ".join(TASKS)
    arms = {"scratch": {"init": "scratch", "finetune.optimizer.layer_decay": 1.0}, "FSFM": {}}
    arms |= {name: MAE | {"mask.strategy": strategy} for name, strategy in MASKS.items()}
    arms |= COMPONENTS
    arms |= {f"{name} probe": _tuned(name, PROBE) for name in PRETRAINED}
    arms |= {f"{name} adapter": _tuned(name, ADAPTER) for name in ADAPTED}
    arms |= {"FSFM long": _tuned("FSFM", LONG)}
    c.arms = " | ".join(f"{name}: " + "; ".join(f"{k}={v}" for k, v in fields.items()) for name, fields in arms.items())
    # File names of UTKFace contain sex (0 male, 1 female) and race (0 White, 1 Black, 2 Asian, 3 Indian, 4 other).
    c.groups = r"utkface=(?P<age>\d+)_(?P<sex>\d)_(?P<race>\d)_"
    return c


def _tuned(init: str, fields: dict) -> dict:
    return {"init": init} | {f"finetune.{name}": value for name, value in fields.items()}
