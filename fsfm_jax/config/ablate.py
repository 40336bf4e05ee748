"""Configuration fields of an ablation: settings of pretraining or fine-tuning, each evaluated on the same tasks."""

from ml_collections import ConfigDict

NOTHING = "none"  # value of `recipe` that skips pretraining
# Fields of a run that the ablation sets and a user must not.
DECIDED = ("job", "init", "repeats", "report.layout")


def ablate() -> ConfigDict:
    """Return the fields of an ablation: each setting is pretrained and fine-tuned on every task.

    The result is one table of averages and one plot.
    """
    c = ConfigDict()
    c.job = "ablate"
    # The rows of the table, written "NAME: FIELD=VALUE; FIELD=VALUE | NAME: ..."; NAME alone changes nothing. A field
    # is one of the pretraining, one of the fine-tuning with the prefix "finetune.", "recipe" for another pretraining
    # recipe, or "init" to skip pretraining. "init" is "scratch", a run, a file, or the name of another setting, whose
    # pretraining is then reused.
    c.settings = "default"
    c.recipe = "pretrain_vitb"  # recipe of every pretraining, NAME or NAME:VARIANT; "none": all start from `init`
    c.init = ""  # pretraining run or weight file that all settings start from, with recipe "none" only
    c.pretrain = ""  # fields changed in every pretraining, such as "duration=400 epochs; seed=1"
    c.tasks = "dfd"  # comma-separated tasks, as in a comparison: "dfd,diff,fas_M,fas_C,fas_I,fas_O"; or "demo"
    c.tuning = "full"  # tuning method of every fine-tuning: a value of tuning.method
    c.size = ""  # size with recipe "none": "vits", "vitb", "vitl" or "demo"; "": as pretrained
    c.variant = ""  # comma-separated variants of the task recipes, as in a comparison
    c.seeds = 0  # fine-tuning runs per setting and task; 0: the number in the recipe
    c.changes = ""  # fields changed in every fine-tuning, such as "batch.size=64; duration=2 epochs"
    # Published ablation whose rows are shown next to the settings of the same name: "fsfm-supp/6/mask ratio",
    # "fsfm-supp/6/model size", or any PAPER/TABLE/ABLATION of detection/published_numbers.toml; "": none.
    c.published = ""
    return c
