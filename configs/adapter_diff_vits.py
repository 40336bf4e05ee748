"""Unseen diffusion forgery with FS-Adapter on a frozen ViT-S/16 of FS-VFM, trained on Deepfakes of FaceForensics++ c23.

    python -m fsfm_jax.prepare.build --dataset=ffpp_deepfakes --input=DOWNLOAD --output=data/ffpp_deepfakes
    python -m fsfm_jax.main --config=configs/adapter_diff_vits.py --workdir=runs/adapter_diff_vits

84,578 parameters are trained. `init` is the --workdir of the pretraining run (`configs/pretrain_vits.py`) or an
official checkpoint with its statistics beside it. Variants follow a colon: `:cached` (features are computed once:
minutes, not hours, but no augmentation), `:linear-probe`, `:layer-norm`, `:bias`, `:lora`, `:released` (`adapt` in
fsfm_jax/config/adapter.py). Hardware: one accelerator; the papers used two GPUs with 128 images each. Cost: not known.
Measured: not run here.
"""

from fsfm_jax.config import adapter, finetune


def get_config(variant=""):
    c = finetune.finetune()
    c.init = "runs/pretrain_vits"
    c.data.train, c.data.validation = "data/ffpp_deepfakes:train", "data/ffpp_deepfakes:val"
    c.model.size = "vit_s16"
    c.report.layout = "diff"
    return adapter.adapt(c, batch=256, duration="60 epochs", rate=1e-2, contrast=0.01, variant=variant)
