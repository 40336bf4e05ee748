"""Face anti-spoofing: a detector on the data set of MCIO or WCS that it did not see.

    python -m fsfm_jax.main --config=configs/eval_fas.py:O --workdir=runs/eval_fas \\
        --config.checkpoint=runs/fas_vitb_O/seed_0

The variant is the target as in `configs/finetune_fas.py:vitb`. The table has the half total error rate at the
threshold that the detector keeps, and the one of the papers, at a threshold fitted to these very faces. Hardware: one
accelerator. Cost: not known. Measured: not run here.
"""

from fsfm_jax.config import evaluate, finetune, pretrain


def get_config(target="O"):
    if target not in (finetune.MCIO | finetune.WCS):
        raise pretrain.unknown_variant(target, finetune.MCIO | finetune.WCS)
    c = evaluate.evaluate()
    folder = "mcio_frames" if target in finetune.MCIO else "wcs_frames"
    name = (finetune.MCIO | finetune.WCS)[target]
    c.data.sets = evaluate.sets({finetune.protocol(target): f"{folder}:{name}_test"})
    c.official.dtype, c.official.transform = "float32", "resize"
    c.report.layout = "fas"
    return c
