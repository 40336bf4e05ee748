"""One detector of four classes (real, deepfake, diffusion, spoof), ViT-B/16 of FS-VFM.

    python -m fsfm_jax.main --config=configs/finetune_unified_vitb.py --workdir=runs/finetune_unified_vitb

The authors show a detector with these classes but do not publish the details of its training data. The mixture and the
settings are choices of this project: every batch has equal numbers of real and forged faces from each source. Prepare
`ffpp_all`, `diff`, `celeba_spoof` and `mcio_frames` with `fsfm_jax.prepare.build` first. DiFF has no training part, so
its validation part is used for training. Its four conditions share their real faces, so none of them can serve for
validation: the validation set has only deepfakes and attacks. Evaluate with `configs/eval_unified.py`. Hardware: one
accelerator. Cost: not known. Measured: not run here.
"""

from fsfm_jax.config import finetune


def get_config():
    c = finetune.finetune()
    c.init = "runs/pretrain_vitb"
    c.model.size = "vit_b16"
    c.data.classes = "real,deepfake,diffusion,spoof"
    trained = ["deepfake=data/ffpp_all:train", "spoof=data/celeba_spoof:train"]
    trained += [f"diffusion=data/diff:val_{part}" for part in ("t2i", "i2i", "fs", "fe")]
    c.data.train = ",".join(trained)
    c.data.validation = "deepfake=data/ffpp_all:val,spoof=data/mcio_frames:oulu_train"
    c.data.balanced = True
    c.batch.size = c.batch.per_device = 96  # two classes of six sources, eight faces each
    c.report.layout = "classes"
    return c
