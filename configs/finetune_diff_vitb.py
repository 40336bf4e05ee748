"""Unseen diffusion forgery, ViT-B/16 of FS-VFM, trained on the Deepfakes part of FaceForensics++ c23.

    python -m fsfm_jax.prepare.build --dataset=ffpp_deepfakes --input=DOWNLOAD --output=data/ffpp_deepfakes
    python -m fsfm_jax.main --config=configs/finetune_diff_vitb.py --workdir=runs/finetune_diff_vitb

`init` is the --workdir of the pretraining run (`configs/pretrain_vitb.py`) or an official checkpoint with its
statistics beside it. Variants follow a colon: `:scratch`, `:released` (see `vary` in
fsfm_jax/config/finetune.py). Evaluate with `configs/eval_diff.py`. Hardware: one accelerator; the papers used two GPUs with
32 images each. Cost: not known. Measured: not run here.

`:fsfm400` is the released recipe for FSFM pretrained for 400 epochs on VGGFace2. `:cvpr` is that of the CVPR paper:
pretrained on the originals of FaceForensics++, statistics of ImageNet, 50 epochs. There the detector for a subset of
DiFF was chosen on the validation part of the same subset, so it takes a run for each:
`--config.data.validation=data/diff:val_t2i --config.data.test=T2I=data/diff:test_t2i`. That looks at the target's
validation faces, which the label of the selection then says.
"""

from fsfm_jax.config import finetune

SPECIAL = {
    "fsfm400": {"init": "runs/pretrain_vitb_fsfm400", "optimizer.base_learning_rate": 1e-4},
    "cvpr": {
        "init": "runs/pretrain_vitb_ffpp", "duration": "50 epochs", "data.statistics": "imagenet",
        "batch.size": 256, "batch.per_device": 256, "optimizer.base_learning_rate": 5e-4,
        "optimizer.layer_decay": 0.65, "optimizer.weight_decay": 0.05,
    },
}  # fmt: skip


def get_config(variant=""):
    c = finetune.finetune()
    c.init = "runs/pretrain_vitb"
    c.data.train, c.data.validation = "data/ffpp_deepfakes:train", "data/ffpp_deepfakes:val"
    c.model.size = "vit_b16"
    c.optimizer.base_learning_rate, c.optimizer.layer_decay, c.optimizer.weight_decay = 5e-5, 0.9, 0.03
    c.report.layout = "diff"
    return finetune.vary(c, variant, SPECIAL)
