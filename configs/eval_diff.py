"""Unseen diffusion forgery: a detector of one manipulation of FaceForensics++ on the four conditions of DiFF.

    python -m fsfm_jax.main --config=configs/eval_diff.py --workdir=runs/eval_diff --config.checkpoint=runs/diff

The sets have single images and share the real ones. Prepare `ffpp_deepfakes` and `diff` with `fsfm_jax.prepare.build`
first. Most models other than FSFM's are below chance here. Swapped classes are not the cause, because classes are
matched by name. Hardware: one accelerator. Cost: not known. Measured: not run here.
"""

from fsfm_jax.config import evaluate

SETS = {"FF_DF": "ffpp_deepfakes:test"} | {part: f"diff:test_{part.lower()}" for part in ("T2I", "I2I", "FS", "FE")}


def get_config():
    c = evaluate.evaluate()
    c.data.sets = evaluate.sets(SETS)
    c.report.layout = "diff"
    return c
