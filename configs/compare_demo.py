"""A small comparison on drawn forgeries: pretrained or not, three tunings. Not a recipe of the papers.

    python -m fsfm_jax.main --config=configs/compare_demo.py --workdir=runs/compare_demo

It starts from the pretraining of `make demo`, with recipe and data of `configs/finetune_demo.py`. Tunings with a frozen
encoder train longer, on stored features. Hardware: two CPU cores. Measured: mean video AUC over three
cameras 94.0 % (pretrained, all parameters), 62.5 % (FS-Adapter), 60.8 % (linear probe) and 96.0 % (from scratch), over
32 videos each; six minutes. Features of so small an encoder say little about drawn forgeries.
"""

from fsfm_jax.config import compare


def get_config():
    c = compare.compare()
    c.models = "demo=fsfm:runs/pretrain_demo,scratch=scratch"
    c.tunings = "full,fs_adapter,linear_probe"
    c.tasks, c.size = "demo", "demo"
    c.variant = "cached"
    return c
