"""A small detector on a thousand faces, for CPUs: the fine-tuning of a study.

    python -m fsfm_jax.main --config=configs/study_finetune.py --workdir=runs/study_detector \\
        --config.init=runs/study --config.data.train=real=data/photos@0.5,fake=data/forged@0.5

The steps are few, because the study compares initialisations. Shifts or resampling would hide the traces of a generator
from a network of this size, so flips are the only augmentation. Hardware: CPU. Measured: see docs/study.md.
"""

from ml_collections import ConfigDict

from fsfm_jax.config import finetune


def get_config() -> ConfigDict:
    c = finetune.finetune()
    c.init = "runs/study"
    c.data.classes = "fake,real"
    c.data.train, c.data.validation = "real=data/photos:train@0.5,fake=data/forged:train@0.5", ""
    c.data.threads = 1
    c.model.size, c.model.dtype, c.model.drop_path = "mini16", "float32", 0.0
    c.augment.crop, c.augment.rand_augment, c.augment.erase = False, "none", 0.0
    c.mix.probability = 0.0
    c.evaluation.transform = "resize"
    c.evaluation.batch = 32
    c.batch.size = c.batch.per_device = 16
    c.duration, c.optimizer.warmup, c.checkpoint.every = "120 steps", "12 steps", "60 steps"
    c.optimizer.base_learning_rate, c.optimizer.layer_decay = 1e-2, 0.75
    c.selection.metric = "auc"
    c.calibration.false_alarm_rate = 0.05  # a hundred real validation faces are too few for 1 %
    return c
