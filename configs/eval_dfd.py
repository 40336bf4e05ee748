"""Cross-dataset deepfake detection: a detector of FaceForensics++ on the data sets of the papers.

    python -m fsfm_jax.main --config=configs/eval_dfd.py --workdir=runs/eval_dfd --config.checkpoint=runs/dfd

The test sets are prepared with `fsfm_jax.prepare.build` before (`celebdf_v2`, `dfdc`, `dfdcp`, `wilddeepfake`).
Hardware: one accelerator. Cost: not known. Measured: not run here.
"""

from configs import common


def get_config():
    c = common.evaluate()
    sets = {"CDFv2": "celebdf_v2", "DFDC": "dfdc", "DFDCp": "dfdcp", "WDF": "wilddeepfake"}
    c.data.sets = ",".join(f"{name}=data/{folder}:test" for name, folder in sets.items())
    c.data.threshold = "data/ffpp_all:val"
    return c
