"""Unseen diffusion forgery: a detector of one manipulation of FaceForensics++ on the four conditions of DiFF.

    python -m fsfm_jax.main --config=configs/eval_diff.py --workdir=runs/eval_diff --config.checkpoint=runs/diff

Single images, the same real ones in all four. `ffpp_deepfakes` and `diff` are prepared with `fsfm_jax.prepare.build`
before. Most models that are not of FSFM are below chance here, which looks like swapped classes and is not: classes
are compared by name. Hardware: one accelerator. Cost: not known. Measured: not run here.
"""

from fsfm_jax.config import evaluate

SETS = {"FF_DF": "ffpp_deepfakes:test"} | {part: f"diff:test_{part.lower()}" for part in ("T2I", "I2I", "FS", "FE")}


def get_config():
    c = evaluate.evaluate()
    c.data.sets = evaluate.sets(SETS)
    c.report.layout = "diff"
    return c
