"""Cross-dataset deepfake detection: a detector of FaceForensics++ on the data sets of the papers.

    python -m fsfm_jax.main --config=configs/eval_dfd.py --workdir=runs/eval_dfd --config.checkpoint=runs/dfd

`checkpoint` may also be a fine-tuned official file, `--config.checkpoint=FILE.pth --config.official.classes=fake,real`.
Prepare the test sets with `fsfm_jax.prepare.build` first (`celebdf_v2`, `dfdc`, `dfdcp`, `wilddeepfake`). `:fsvfm` adds
those of FS-VFM (`dfd`, `celebdf_v1`, `celebdf_pp`). `:intra` has only the test split of FaceForensics++, `:c40` the one
at c40. `:only-deepfakes` (or another manipulation) tests a detector trained on Deepfakes on the other three
manipulations; `:all-but-deepfakes` tests a detector trained on the other three on Deepfakes. These words are defined in
fsfm_jax/config/protocols.py. Thresholds are those chosen on the detector's validation set. Hardware: one accelerator.
Cost: not known. Measured: not run.
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
