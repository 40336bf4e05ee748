"""Configuration fields of a study: does pretraining on real faces help to detect forgeries in your own pictures?"""

from ml_collections import ConfigDict

BLENDED = "blended"  # value of `fake` of a task: the real faces, blended with an altered copy
# Fields of a run that the study sets and a user must not.
DECIDED = ("job", "init", "repeats", "report.layout", "data.train", "data.validation", "data.test", "data.classes")


def study() -> ConfigDict:
    """Return the fields of a study: arms (initialisations) x tasks (real against forged sets), with several seeds."""
    c = ConfigDict()
    c.job = "study"
    # Folder of the pictures: real/NAME/... and forged/NAME/..., or NAME/real/... and NAME/fake/... for a source with
    # both. Fields below call the latter NAME_real and NAME_fake.
    c.folder = ""
    # Shares of the splits of each source in percent. A hash of the file name decides, so every study has the same
    # splits.
    c.shares = "train=70,val=10,test=20"
    c.detector = "dlib+blazeface"  # face detector, as in `fsfm prepare`
    c.workers = 0  # processes that prepare pictures; 0: one per core
    c.pretrain_on = ""  # comma-separated real sources, whose training splits are used; "": all but controls
    c.pretraining = "study_pretrain"  # recipe of every pretraining
    c.finetuning = "study_finetune"  # recipe of every fine-tuning
    # Initialisations to compare, written "NAME: FIELD=VALUE; ... | NAME: ..." as in an ablation. A field is one of the
    # pretraining, one of the fine-tuning with the prefix "finetune.", or "init". "init" is "scratch", a run, a file, or
    # the name of an earlier arm, whose pretraining is then reused.
    c.arms = (
        "scratch: init=scratch | MAE, random: mask.strategy=random; loss.region_weight=0; "
        "model.instance_discrimination=False | MAE, CRFR-P: loss.region_weight=0; model.instance_discrimination=False "
        "| FSFM"
    )
    # Tasks, written "NAME: real=A,B; fake=C; test=D,E; control=F; against=G; arms=X,Y | ...". Each task trains on real
    # faces of A and B against forged faces of C. It tests on forged faces of D and E against real faces of G (default:
    # A and B). F has real faces that are never trained on and take the place of the forged ones in a control test. An
    # AUC far from 50 % there means that the detector separates sources and not forgeries. "": tasks for all folders.
    c.tasks = ""
    c.controls = ""  # comma-separated real sources that are never trained on, with tasks "" only
    c.seeds = 3
    # Groups of a source by a pattern of its file names, written "NAME=PATTERN". False alarms are counted for each value
    # of each named group, such as "utkface=(?P<age>\d+)_(?P<sex>\d)_(?P<race>\d)_".
    c.groups = ""
    return c
