"""Configuration fields of a comparison: several base models, tuning methods and tasks."""

from ml_collections import ConfigDict

from fsfm_jax.config import protocols

# The first words of the task names. Anti-spoofing adds its target: "fas_O". "demo" has synthetic images, size "demo".
FAMILIES = ("dfd", "diff", "fas", "demo")
SIZES = ("vits", "vitb", "vitl", "demo")
# Fields of a cell that the comparison sets, and the field of the comparison that sets each.
DECIDED = {
    "job": "job", "init": "models", "model.base": "models", "tuning.method": "tunings", "repeats": "seeds",
    "report.layout": "tasks",
}  # fmt: skip
# Words of `variant`: the tasks that have each, and whether it needs a frozen encoder. Other variants do not exist for
# all models.
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
    """Return the fields of a comparison: models x tuning methods x tasks, as one table and one plot.

    A cell is a fine-tuning run with the recipe `finetune_TASK:SIZE`, or `adapter_TASK:SIZE` for a frozen encoder. It is
    tested on the sets of `eval_TASK`. A model from scratch has full tuning only; the table names the omitted cells.
    """
    c = ConfigDict()
    c.job = "compare"
    # Models to compare, written "NAME=BASE:INIT,NAME=BASE:INIT" or "NAME=scratch". BASE is a value of model.base and
    # INIT a value of init of a fine-tuning, such as "MAE CRFR-P=fsfm:runs/mae_crfr_p".
    c.models = "FS-VFM=fsfm:runs/pretrain_vitb,scratch=scratch"
    c.tunings = "full,fs_adapter,linear_probe,layer_norm,bias,lora"  # comma-separated values of tuning.method
    # Comma-separated tasks: "dfd", "diff", "fas_M", "fas_C", "fas_I", "fas_O", "fas_wmca", "fas_cefa", "fas_surf",
    # those with fewer sources such as "fas_MI2C" and "fas_M2O"; or "demo".
    c.tasks = "dfd"
    c.size = "vitb"  # size of all models: "vits", "vitb", "vitl" or "demo"; a base keeps its own heads and patches
    # Comma-separated variants, applied to the recipes that have them: "cached" (FS-Adapter and linear probe),
    # "released"; for anti-spoofing "no-celeb", "celeb", "5-shot", "oracle"; for deepfakes the protocols "fsvfm", "c40",
    # "only-deepfakes" and the others of config/protocols.py.
    c.variant = ""
    c.seeds = 0  # number of runs per cell; 0: the number in its recipe
    c.changes = ""  # fields changed in every cell, such as "batch.size=64;duration=2 epochs"
    # Score files of detectors that are not trained here, written "NAME=FILE.csv,NAME=FILE.csv"; each becomes a row. The
    # format is described in detection/score_file.py. A file needs all videos or all frames of the sets that it names.
    c.scores = ""
    return c
