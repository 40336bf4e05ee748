"""A small detector of drawn forgeries, as a demonstration of fine-tuning. Not a recipe of the papers.

    python -m fsfm_jax.main --config=configs/finetune_demo.py --workdir=runs/finetune_demo

It starts from the pretraining of `make demo` and trains on drawn faces, half of which are blended. It is tested on
unseen people, with the camera of its training data and two others. Hardware: two CPU cores. Measured: video AUC 99.6 %
with the same camera, 89.8 % and 94.5 % with the others, over 32 videos each (two shared x86 cores).
"""

from fsfm_jax.config import finetune


def get_config():
    c = finetune.finetune()
    c.init = "runs/pretrain_demo"
    c.data.train, c.data.validation = "forged:blend:512", "forged:blend:128:1"
    c.data.test = "home=forged:blend:128:2:0,shifted=forged:blend:128:2:2,soft=forged:blend:128:2:3"
    c.model.size, c.model.dtype, c.model.drop_path = "demo16", "float32", 0.0
    # The traces are aligned with the pixel grid; shifts or resampling would hide them from a model of this size.
    c.augment.crop, c.augment.rand_augment, c.augment.erase = False, "none", 0.0
    c.mix.probability = 0.0
    c.evaluation.transform = "resize"
    c.evaluation.batch = c.batch.size = 32
    c.duration, c.optimizer.warmup, c.checkpoint.every = "10 epochs", "1 epochs", "2 epochs"
    c.optimizer.base_learning_rate, c.optimizer.layer_decay = 1e-2, 1.0
    return c
