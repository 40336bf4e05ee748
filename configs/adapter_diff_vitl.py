"""Unseen diffusion forgery with FS-Adapter on a frozen ViT-L/16 of FS-VFM, trained on Deepfakes of FaceForensics++ c23.

    python -m fsfm_jax.prepare.build --dataset=ffpp_deepfakes --input=DOWNLOAD --output=data/ffpp_deepfakes
    python -m fsfm_jax.main --config=configs/adapter_diff_vitl.py --workdir=runs/adapter_diff_vitl

594,178 parameters are trained. `init` is the --workdir of the pretraining run (`configs/pretrain_vitl.py`) or an
official checkpoint with its statistics beside it. Variants follow a colon: `:cached` (features are computed once:
minutes, not hours, but no augmentation), `:linear-probe`, `:layer-norm`, `:bias`, `:lora`, `:released` (`adapt` in
fsfm_jax/config/adapter.py). Hardware: one accelerator; the papers used two GPUs with 512 images each. Cost: not known.
Measured: not run here.
"""

from fsfm_jax.config import adapter, finetune


def get_config(variant=""):
    c = finetune.finetune()
    c.init = "runs/pretrain_vitl"
    c.data.train, c.data.validation = "data/ffpp_deepfakes:train", "data/ffpp_deepfakes:val"
    c.model.size = "vit_l16"
    c.report.layout = "diff"
    return adapter.adapt(c, batch=1024, duration="50 epochs", rate=5e-3, contrast=0.1, variant=variant)
