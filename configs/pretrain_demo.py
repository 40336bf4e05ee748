"""A small model on 19 bundled photos and procedural faces: the whole method in minutes on two CPU cores.

    make demo
    python -m fsfm_jax.main --config=configs/pretrain_demo.py --workdir=runs/pretrain_demo
"""

from ml_collections import ConfigDict

from configs import common


def get_config() -> ConfigDict:
    c = common.pretrain()
    c.data.train = "samples:train@0.5,synthetic:512@0.5"
    c.data.augment = True
    c.duration = "300 steps"
    c.batch.size = 32
    c.batch.per_device = 32
    c.model.size = "demo16"
    c.model.pixel_width = 128
    c.model.pixel_depth = 2
    c.model.pixel_heads = 4
    c.model.rep_heads = 4
    c.model.projection_hidden = 512
    c.model.projection_features = 64
    c.model.dtype = "float32"
    c.optimizer.base_learning_rate = 8e-3
    c.optimizer.warmup = "20 steps"
    c.checkpoint.every = "100 steps"
    c.checkpoint.keep_every = "0 steps"
    return c
