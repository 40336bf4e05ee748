"""Cross-dataset deepfake detection: a detector of FaceForensics++ on the data sets of the papers.

    python -m fsfm_jax.main --config=configs/eval_dfd.py --workdir=runs/eval_dfd --config.checkpoint=runs/dfd

`checkpoint` may also be a fine-tuned official file, `--config.checkpoint=FILE.pth --config.official.classes=fake,real`.
The test sets are prepared with `fsfm_jax.prepare.build` before (`celebdf_v2`, `dfdc`, `dfdcp`, `wilddeepfake`);
`:fsvfm` adds those of FS-VFM (`dfd`, `celebdf_v1`, `celebdf_pp`), `:intra` is the test split of FaceForensics++
instead. Thresholds are those that the detector keeps from its validation set. Hardware: one accelerator. Cost: not
known. Measured: not run here.
"""

from fsfm_jax.config import evaluate, pretrain

SETS = {"CDFv2": "celebdf_v2:test", "DFDC": "dfdc:test", "DFDCp": "dfdcp:test", "WDF": "wilddeepfake:test"}
MORE = {"DFD": "dfd:test", "CDFv1": "celebdf_v1:test", "CDFpp": "celebdf_pp:test"}
INTRA = {"FFpp": "ffpp_all:test"}


def get_config(variant=""):
    known = {"": SETS, "fsvfm": SETS | MORE, "intra": INTRA}
    if variant not in known:
        raise pretrain.unknown_variant(variant, [name for name in known if name])
    c = evaluate.evaluate()
    c.data.sets = evaluate.sets(known[variant])
    return c
