"""A small comparison on drawn forgeries: pretrained or not, three tunings. Not a recipe of the papers.

    python -m fsfm_jax.main --config=configs/compare_demo.py --workdir=runs/compare_demo

Starts from the pretraining of `make demo`; recipe and data are those of `configs/finetune_demo.py`. What stands behind the
frozen encoder learns from kept features, longer and faster.
Hardware: two CPU cores. Measured: mean video AUC over three cameras 94.4 % (pretrained, all parameters) and 93.6 %
(from scratch), 54.7 % (FS-Adapter) and 54.4 % (linear probe), near chance; 8 minutes of processor time on one shared
x86 core.
"""

from configs import comparison


def get_config():
    c = comparison.compare()
    c.models = "demo=fsfm:runs/pretrain_demo,scratch=scratch"
    c.tunings = "full,fs_adapter,linear_probe"
    c.tasks, c.size = "demo", "demo"
    c.variant = "cached"
    return c
