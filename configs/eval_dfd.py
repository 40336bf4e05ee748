"""Cross-dataset deepfake detection: a detector of FaceForensics++ on the data sets of the papers.

    python -m fsfm_jax.main --config=configs/eval_dfd.py --workdir=runs/eval_dfd --config.checkpoint=runs/dfd

`checkpoint` may also be a fine-tuned official file, `--config.checkpoint=FILE.pth --config.official.classes=fake,real`.
The test sets are prepared with `fsfm_jax.prepare.build` before (`celebdf_v2`, `dfdc`, `dfdcp`, `wilddeepfake`);
`:fsvfm` adds those of FS-VFM (`dfd`, `celebdf_v1`, `celebdf_pp`), `:intra` is the test split of FaceForensics++
instead, `:c40` the one at c40. `:only-deepfakes` (or another manipulation) is for a detector of Deepfakes: the other
three manipulations; `:all-but-deepfakes` for one of the other three: Deepfakes. These are the words of
fsfm_jax/config/protocols.py. Thresholds are those that the detector keeps from its validation set. Hardware: one
accelerator. Cost: not known. Measured: not run.
"""

from fsfm_jax.config import evaluate, pretrain, protocols

ALONE = {"": protocols.FSFM, "intra": {"FFpp": "ffpp_all:test"}}


def get_config(variant=""):
    protocol, unknown = protocols.find_protocol(variant)
    if unknown and variant not in ALONE:
        raise pretrain.unknown_variant(variant, ("intra", *protocols.WORDS))
    c = evaluate.evaluate()
    c.data.sets = evaluate.sets(ALONE.get(variant) or protocol.tests)
    return c
