"""A small encoder on a thousand real faces, for CPUs: the pretraining of a study.

    python -m fsfm_jax.main --config=configs/study_pretrain.py --workdir=runs/study --config.data.train=data/faces

Masking, losses and both networks follow the papers; sizes and schedule are chosen for two cores. Hardware: CPU.
Measured: see docs/study.md.
"""

from ml_collections import ConfigDict

from fsfm_jax.config import pretrain


def get_config() -> ConfigDict:
    c = pretrain.pretrain()
    c.data.train = "data/faces"
    c.data.augment = True  # because each of a thousand faces is seen forty times
    c.data.threads = 1
    c.duration = "40 epochs"
    c.batch.size = c.batch.per_device = 32
    c.model.size = "mini16"
    # The depth relative to the encoder is that of the papers' decoders.
    c.model.pixel_width, c.model.pixel_depth, c.model.pixel_heads = 128, 2, 4
    c.model.rep_depth, c.model.rep_heads = 1, 3
    c.model.projection_hidden, c.model.projection_features = 512, 64
    c.model.dtype = "float32"
    c.optimizer.base_learning_rate, c.optimizer.warmup = 1.2e-2, "3 epochs"
    c.checkpoint.every, c.checkpoint.keep_every = "2 epochs", "0 steps"
    return c
