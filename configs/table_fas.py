"""The table of leave-one-out anti-spoofing: four targets of MCIO, mean and std over seeds, mean over targets.

    python -m fsfm_jax.main --config=configs/table_fas.py --workdir=runs/table_fas

The runs are those of `configs/finetune_fas.py:vitb,M` to `:O`; set others with `--config.runs=DIR,DIR`. The job reads
their results and computes no scores. Hardware: none. Cost: seconds. Measured: not run here.
"""

from fsfm_jax.config import finetune, tabulate


def get_config():
    c = tabulate.tabulate()
    c.runs = ",".join(f"runs/fas_vitb_{target}" for target in finetune.MCIO)
    c.layout = "fas"
    return c
