"""A small ablation on drawn faces: two masking strategies in minutes. Not a recipe of the papers.

    python -m fsfm_jax.main --config=configs/ablate_demo.py --workdir=runs/ablate_demo

Pretraining and fine-tuning are shorter versions of `make demo`. Hardware: two CPU cores, about 10 minutes. Measured,
one seed: average video AUC 60.6 % (random) and 89.2 % (CRFR-P). With drawn faces and 120 steps this only shows that the
job works; it does not compare the masks.
"""

from fsfm_jax.config.ablate import ablate


def get_config():
    c = ablate()
    c.recipe, c.tasks = "pretrain_demo", "demo"
    c.settings = "random: mask.strategy=random; loss.region_weight=0 | CRFR-P"
    c.pretrain = "duration=120 steps"
    c.changes = "duration=4 epochs"
    return c
