"""A small model on 19 bundled photos and procedural faces: the whole method in minutes on two CPU cores.

Command:   make demo
           python -m fsfm_jax.main --config=configs/pretrain_demo.py --workdir=runs/pretrain_demo
Hardware:  two CPU cores, no accelerator.
Measured:  `make demo` from an empty machine in 400 s, installation (75 s) included, training at 27 images/s (two
           shared x86 cores); masked loss of the five held-out faces 1.184 untrained, 0.326 trained.
Shows:     masking, both networks and all three losses on real faces; nothing about detection.
"""

from ml_collections import ConfigDict

from fsfm_jax.config import pretrain


def get_config() -> ConfigDict:
    c = pretrain.pretrain()
    # Half of each batch is real although there are fewer real faces. The model would memorise 19 photos alone.
    c.data.train = "samples:train@0.5,synthetic:256@0.5"
    c.loss.normalise_pixels = False  # so that the picture uses no information from the hidden patches
    c.duration = "420 steps"
    c.batch.size = 16
    c.batch.per_device = 16
    c.model.size = "demo16"
    c.model.pixel_width = 128
    c.model.pixel_depth = 2
    c.model.pixel_heads = 4
    c.model.rep_heads = 4
    c.model.projection_hidden = 512
    c.model.projection_features = 64
    c.model.dtype = "float32"
    c.optimizer.base_learning_rate = 2.4e-2
    c.optimizer.warmup = "20 steps"
    c.checkpoint.every = "100 steps"
    c.checkpoint.keep_every = "0 steps"
    return c
