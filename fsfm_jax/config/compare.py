"""Every field of a comparison: several base models, tuned in several ways, for several tasks."""

from ml_collections import ConfigDict

from fsfm_jax.config import protocols

# Tasks are those of the recipes; anti-spoofing has a target, as "fas_O". "demo" is drawn, and of size "demo".
FAMILIES = ("dfd", "diff", "fas", "demo")
SIZES = ("vits", "vitb", "vitl", "demo")
# Fields of a cell that the comparison itself sets, and what sets them.
DECIDED = {
    "job": "job", "init": "models", "model.base": "models", "tuning.method": "tunings", "repeats": "seeds",
    "report.layout": "tasks",
}  # fmt: skip
# Words of `variant`: of which tasks, and whether of frozen encoders alone; no other variant is of all models.
WORDS = {
    "cached": (("dfd", "diff", "fas", "demo"), True),
    "released": (("dfd", "diff", "fas"), False),
    "no-celeb": (("fas",), False),
    "celeb": (("fas",), False),
    "5-shot": (("fas",), False),
    "oracle": (("fas",), False),
    **dict.fromkeys(protocols.WORDS, (("dfd",), False)),
}


def compare() -> ConfigDict:
    """Models x tunings x tasks as one table and one picture, every field.

    A cell is a fine-tuning with the recipe `finetune_TASK_SIZE` or, frozen, `adapter_TASK_SIZE`, tested on the sets of
    `eval_TASK`. From scratch there is full tuning alone; other tunings of it are left out, and the table says so.
    """
    c = ConfigDict()
    c.job = "compare"
    # "NAME=BASE:INIT,NAME=BASE:INIT", BASE as model.base and INIT as init of a fine-tuning; "NAME=scratch". A masked
    # autoencoder of fsfm_jax with another mask is "MAE CRFR-P=fsfm:runs/mae_crfr_p".
    c.models = "FS-VFM=fsfm:runs/pretrain_vitb,scratch=scratch"
    c.tunings = "full,fs_adapter,linear_probe,layer_norm,bias,lora"  # as tuning.method
    # "dfd,diff,fas_M,fas_C,fas_I,fas_O", also "fas_wmca", "fas_cefa", "fas_surf", and those of fewer sources such as
    # "fas_MI2C" and "fas_M2O"; or "demo".
    c.tasks = "dfd"
    c.size = "vitb"  # or "vits", "vitl", "demo"; a base that has other heads or patches takes its own of that width
    # Words for the recipes that have them, with commas: "cached" (FS-Adapter and linear probe), "released"; of
    # anti-spoofing "no-celeb", "celeb", "5-shot", "oracle"; of deepfakes the protocols "fsvfm", "c40",
    # "only-deepfakes" and others.
    c.variant = ""
    c.seeds = 0  # runs of each cell; 0: as many as its recipe has
    c.changes = ""  # fields of every cell, "batch.size=64;duration=2 epochs"
    # "NAME=FILE.csv,NAME=FILE.csv": scores of detectors that are not trained here, as rows of their own. The format is
    # that of detection/score_file.py; a file has every video or every frame of the test sets that it names.
    c.scores = ""
    return c
