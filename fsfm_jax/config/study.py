"""Every field of a study: does pretraining on real faces help to find forged ones, on anybody's folders of pictures."""

from ml_collections import ConfigDict

BLENDED = "blended"  # as `fake` of a task: the real faces themselves, blended with a changed copy
# Fields of a run that the study itself sets.
DECIDED = ("job", "init", "repeats", "report.layout", "data.train", "data.validation", "data.test", "data.classes")


def study() -> ConfigDict:
    """Arms (ways to start) times tasks (what is told apart), each with several seeds."""
    c = ConfigDict()
    c.job = "study"
    # Pictures: real/NAME/..., forged/NAME/..., and NAME/real/... beside NAME/fake/... of one source with both, whose
    # names below are NAME_real and NAME_fake.
    c.folder = ""
    # Of each source, by a hash of the name of the picture: a picture is on the same side in every study.
    c.shares = "train=70,val=10,test=20"
    c.detector = "dlib+blazeface"  # of faces, as in `fsfm prepare`
    c.workers = 0  # processes that prepare pictures; 0: one for each core
    c.pretrain_on = ""  # names of real sources with commas, their training shares; "": all that are no control
    c.pretraining = "study_pretrain"  # recipe of every pretraining
    c.finetuning = "study_finetune"  # recipe of every fine-tuning
    # "NAME: FIELD=VALUE; ... | NAME: ..." as the settings of an ablation: fields of the pretraining, those of the
    # fine-tuning with "finetune." before, and "init": "scratch", a run, a file, or the name of an earlier arm, whose
    # pretraining is then used again.
    c.arms = (
        "scratch: init=scratch | MAE, random: mask.strategy=random; loss.region_weight=0; "
        "model.instance_discrimination=False | MAE, CRFR-P: loss.region_weight=0; model.instance_discrimination=False "
        "| FSFM"
    )
    # "NAME: real=A,B; fake=C; test=D,E; control=F; against=G; arms=X,Y | ...": real faces of A and B against forged
    # ones of C, tested on those of D and E beside real ones of G, or of A and B without it. F is real, nothing learns
    # from it, and it is put in the place of the forged faces: an AUC far from 50 % there says that sources are told
    # apart and not forgeries. "" makes tasks of all folders.
    c.tasks = ""
    c.controls = ""  # with tasks "": names of real sources that nothing may learn from
    c.seeds = 3
    # Groups of a source by a pattern for the names of its pictures, "NAME=PATTERN": false alarms are counted for each
    # value of each named part, such as "utkface=(?P<age>\d+)_(?P<sex>\d)_(?P<race>\d)_".
    c.groups = ""
    return c
