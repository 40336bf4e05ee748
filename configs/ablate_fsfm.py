"""The ablations of FSFM's pretraining: one variant each, ViT-B pretrained on the originals of FaceForensics++.

    python -m fsfm_jax.main --config=configs/ablate_fsfm.py:masking --workdir=runs/ablate_masking

| variant     | what changes                                   | where it is published                   |
|-------------|------------------------------------------------|-----------------------------------------|
| masking     | masking strategy                               | FSFM, ablations (numbers unavailable)   |
| ratio       | masking ratio, 0.35 to 0.85                    | FSFM supplement, Tab. 6                 |
| components  | with and without each loss                     | FSFM, ablations (numbers unavailable)   |
| id-loss     | loss of instance discrimination                | FSFM, ablations (numbers unavailable)   |
| target-view | view of the target and decoders, Fig. 4 a to c | FSFM, ablations; supplement, C.1        |
| augmentation | augmentation of both networks' views          | FSFM supplement, C.2, without numbers   |
| weights     | weights of the region and the ID loss          | FSFM supplement, Fig. 5                 |
| data        | pretraining data                               | FSFM, ablations (numbers unavailable)   |
| size        | ViT-S, B and L                                 | FSFM supplement, Tab. 6                 |

Each setting is pretrained for 400 epochs, then fine-tuned for deepfakes (four unseen sets) and for anti-spoofing (four
targets). The table has the average columns of the supplement. The weights of Fig. 5 are in no table, so the weights
here are chosen by this project. Data: `data/ffpp_originals` for pretraining, and the data of `finetune_dfd` and
`finetune_fas`. Hardware: one TPU slice or several GPUs. Cost: not known; three to seven pretrainings of 0.1 million
images and five fine-tunings each. Measured: not run.
"""

from fsfm_jax.config.ablate import ablate
from fsfm_jax.config.pretrain import unknown_variant

SETTINGS = {
    "masking": "random: mask.strategy=random; loss.region_weight=0 | Fasking-I: mask.strategy=fasking_i; "
    "loss.region_weight=0 | FRP: mask.strategy=frp; loss.region_weight=0 | CRFR-R: mask.strategy=crfr_r | CRFR-P",
    "ratio": "0.35: mask.ratio=0.35 | 0.50: mask.ratio=0.5 | 0.65: mask.ratio=0.65 | 0.75 | 0.85: mask.ratio=0.85",
    "components": "masked: loss.region_weight=0; model.instance_discrimination=False | "
    "masked and region: model.instance_discrimination=False | masked and ID: loss.region_weight=0 | "
    "ID: loss.masked_weight=0; loss.region_weight=0 | all",
    "id-loss": "NCS | BYOL: loss.kind=byol | InfoNCE: loss.kind=infonce | MoCo v3: loss.kind=mocov3 | "
    "SimCLR: loss.kind=simclr",
    "target-view": "other visible: model.target_view=4a | masked: model.target_view=4b | "
    "full without decoder: model.target_view=4c-free | full with online decoder: model.target_view=4c-online | "
    "full with both decoders: model.target_view=4c-siamese",
    "augmentation": "none | target simple: data.augment_target=simple | target strong: data.augment_target=strong | "
    "both simple: data.augment_online=simple; data.augment_target=simple | "
    "online simple and target strong: data.augment_online=simple; data.augment_target=strong",
    "weights": "0.001 and 0.1: loss.region_weight=0.001 | 0.007 and 0.1 | 0.01 and 0.1: loss.region_weight=0.01 | "
    "0.1 and 0.1: loss.region_weight=0.1 | 0.007 and 0.01: loss.instance_weight=0.01 | "
    "0.007 and 0.05: loss.instance_weight=0.05 | 0.007 and 0.5: loss.instance_weight=0.5",
    "data": "FF++ 0.1M | YTF 0.6M: data.train=data/ytf | VGGFace2 3.3M: data.train=data/vggface2",
    "size": "S: recipe=pretrain_vits | B | L: recipe=pretrain_vitl",
}
PUBLISHED = {"ratio": "fsfm-supp/6/mask ratio", "size": "fsfm-supp/6/model size"}


def get_config(variant="masking"):
    if variant not in SETTINGS:
        raise unknown_variant(variant, SETTINGS)
    c = ablate()
    c.settings = SETTINGS[variant]
    c.pretrain = "data.train=data/ffpp_originals; duration=400 epochs"
    c.tasks = "dfd,fas_M,fas_C,fas_I,fas_O"
    c.published = PUBLISHED[variant] if variant in PUBLISHED else ""
    return c
