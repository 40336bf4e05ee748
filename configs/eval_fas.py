"""Face anti-spoofing: a detector on the data set of MCIO or WCS that it did not see.

    python -m fsfm_jax.main --config=configs/eval_fas.py:O --workdir=runs/eval_fas \\
        --config.checkpoint=runs/fas_vitb_O/seed_0

The variant is that of `configs/finetune_fas.py` without its size: a target or a protocol with fewer sources, then words
such as `no-celeb`, which select the name of the set in published numbers. The table has the half total error rate at
the detector's own threshold, and that of the papers, at a threshold fitted to the test faces. Hardware: one
accelerator. Cost: not known. Measured: not run.
"""

from fsfm_jax.config import evaluate, finetune


def get_config(variant="O"):
    c = evaluate.evaluate()
    c.data.sets = finetune.antispoof_test(variant)
    c.official.dtype, c.official.transform = "float32", "resize"
    c.report.layout = "fas"
    return c
