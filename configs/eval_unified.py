"""The detector of four classes on test sets of every kind.

    python -m fsfm_jax.main --config=configs/eval_unified.py --workdir=runs/eval_unified \\
        --config.checkpoint=runs/finetune_unified_vitb

The table has recall and AUC of each class, and of real against all other classes. Hardware: one accelerator. Cost: not
known. Measured: not run here.
"""

from fsfm_jax.config import evaluate


def get_config():
    c = evaluate.evaluate()
    sets = {"CDFv2": "deepfake=data/celebdf_v2:test", "T2I": "diffusion=data/diff:test_t2i"}
    sets |= {"FE": "diffusion=data/diff:test_fe", "OULU": "spoof=data/mcio_frames:oulu_test"}
    c.data.sets = ",".join(f"{name}={spec}" for name, spec in sets.items())
    c.report.layout = "classes"
    return c
