"""Deepfake detection with FS-Adapter on a frozen ViT-B/16 of FS-VFM, trained on FaceForensics++ c23.

    python -m fsfm_jax.prepare.build --dataset=ffpp_all --input=DOWNLOAD --output=data/ffpp_all
    python -m fsfm_jax.main --config=configs/adapter_dfd_vitb.py --workdir=runs/adapter_dfd_vitb

335,042 parameters are trained. `init` is the --workdir of the pretraining run (`configs/pretrain_vitb.py`) or an
official checkpoint with its statistics beside it. Variants follow a colon: `:cached` (features are computed once:
minutes, not hours, but no augmentation), `:linear-probe`, `:layer-norm`, `:bias`, `:lora`, `:released` (`adapt` in
fsfm_jax/config/adapter.py). Hardware: one accelerator; the papers used two GPUs with 128 images each. Cost: not known.
Measured: not run here.
"""

from fsfm_jax.config import adapter, finetune


def get_config(variant=""):
    c = finetune.finetune()
    c.init = "runs/pretrain_vitb"
    c.model.size = "vit_b16"
    return adapter.adapt(c, batch=256, duration="50 epochs", rate=5e-3, contrast=0.01, variant=variant)
