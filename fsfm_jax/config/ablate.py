"""Every field of an ablation: settings of pretraining or fine-tuning, each tried on the same tasks."""

from ml_collections import ConfigDict

NOTHING = "none"  # as `recipe`: nothing is pretrained
# Fields of a run that the ablation itself sets.
DECIDED = ("job", "init", "repeats", "report.layout")


def ablate() -> ConfigDict:
    """A grid over settings: pretraining, then fine-tuning on each task, as one table of averages and one plot."""
    c = ConfigDict()
    c.job = "ablate"
    # "NAME: FIELD=VALUE; FIELD=VALUE | NAME: ...", a row of the table each; NAME alone changes nothing. Fields are
    # those of a pretraining, of a fine-tuning with "finetune." before, "recipe" for another pretraining, and "init"
    # for none: "scratch", a run, a file, or the name of another setting, whose pretraining is then taken.
    c.settings = "default"
    c.recipe = "pretrain_vitb"  # of every pretraining, with a variant if you like; "none": all start from `init`
    c.init = ""  # with recipe "none": a pretraining run or a weight file
    c.pretrain = ""  # fields of every pretraining, "data.train=data/ffpp_originals; duration=400 epochs"
    c.tasks = "dfd"  # as in a comparison: "dfd,diff,fas_M,fas_C,fas_I,fas_O"; or "demo"
    c.tuning = "full"  # as tuning.method
    c.size = ""  # with recipe "none": "vits", "vitb", "vitl" or "demo"; else that of each pretraining
    c.variant = ""  # words for the recipes of the tasks, as in a comparison
    c.seeds = 0  # fine-tunings of each setting and task; 0: as many as the recipe has
    c.changes = ""  # fields of every fine-tuning, "batch.size=64; duration=2 epochs"
    # Which published rows stand beside those of the same name: "fsfm-supp/6/mask ratio", "fsfm-supp/6/model size", or
    # any PAPER/TABLE/ABLATION of detection/published_numbers.toml; "" for none.
    c.published = ""
    return c
