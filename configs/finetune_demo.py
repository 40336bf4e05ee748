"""A small detector of drawn forgeries, for a look at fine-tuning. Not a recipe of the papers.

    python -m fsfm_jax.main --config=configs/finetune_demo.py --workdir=runs/finetune_demo

Starts from the pretraining of `make demo`. Hardware: two CPU cores. Measured: not run here.
"""

from configs import finetuning


def get_config():
    c = finetuning.finetune()
    c.init = "runs/pretrain_demo"
    c.data.train, c.data.validation = "forged:blend:512", "forged:blend:128:1"
    c.model.size, c.model.dtype, c.model.drop_path = "demo16", "float32", 0.0
    c.augment.rand_augment, c.augment.erase = "none", 0.0
    c.mix.probability = 0.0
    c.batch.size = 32
    c.duration, c.optimizer.warmup = "10 epochs", "1 epochs"
    c.optimizer.base_learning_rate, c.optimizer.layer_decay = 4e-3, 0.75
    c.evaluation.batch = 32
    return c
