"""The ablations of FS-Adapter: one variant each, on a frozen ViT-B of FS-VFM.

    python -m fsfm_jax.main --config=configs/ablate_adapter.py:insertion --workdir=runs/ablate_insertion

| variant     | what changes                                                              |
|-------------|---------------------------------------------------------------------------|
| insertion   | after the encoder, concatenated or added; in the blocks, two variants     |
| reduction   | encoder width divided by the bottleneck's width                           |
| contrast    | contrasted faces: none, real, real and forged, real anchor                |
| weight      | weight of the contrastive loss                                            |
| temperature | temperature of the contrastive loss                                       |

FS-VFM's tables were not available, so it is unknown which of these ablations it has and with which values. The values
here are chosen around the released ones. Nothing is pretrained: `init` is the --workdir of the pretraining run, or an
official checkpoint with its statistics next to it. Hardware: one accelerator. Cost: not known. Measured: not run.
"""

from fsfm_jax.config.ablate import NOTHING, ablate
from fsfm_jax.config.pretrain import unknown_variant

SETTINGS = {
    "insertion": "concatenated | added: finetune.tuning.insertion=add | "
    "parallel in blocks: finetune.tuning.insertion=parallel | "
    "sequential in blocks: finetune.tuning.insertion=sequential",
    "reduction": "2: finetune.tuning.reduction=2 | 4 | 8: finetune.tuning.reduction=8 | "
    "16: finetune.tuning.reduction=16",
    "contrast": "none: finetune.loss.contrast_kind=none | real-real: finetune.loss.contrast_kind=real_real | "
    "real-fake: finetune.loss.contrast_kind=real_fake | real anchor",
    "weight": "0: finetune.loss.contrast=0 | 0.01: finetune.loss.contrast=0.01 | 0.05: finetune.loss.contrast=0.05 | "
    "0.1: finetune.loss.contrast=0.1 | 0.2: finetune.loss.contrast=0.2",
    "temperature": "0.05: finetune.loss.temperature=0.05 | 0.07 | 0.1: finetune.loss.temperature=0.1 | "
    "0.2: finetune.loss.temperature=0.2 | 0.5: finetune.loss.temperature=0.5",
}


def get_config(variant="insertion"):
    if variant not in SETTINGS:
        raise unknown_variant(variant, SETTINGS)
    c = ablate()
    c.settings = SETTINGS[variant]
    c.recipe, c.init, c.size = NOTHING, "runs/pretrain_vitb", "vitb"
    c.tuning = "fs_adapter"
    c.tasks = "dfd,fas_M,fas_C,fas_I,fas_O"
    return c
