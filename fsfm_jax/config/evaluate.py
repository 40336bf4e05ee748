"""Every field of an evaluation: one detector on many data sets."""

from ml_collections import ConfigDict


def looking() -> ConfigDict:
    """Evaluation and report settings; fine-tuning has these fields as well."""
    c = ConfigDict()
    c.evaluation = ConfigDict()
    c.evaluation.transform = "resize_center"  # shorter side 256, middle 224; "resize": the whole crop to 224
    c.evaluation.batch = 320  # images that are scored at a time, over all devices
    c.evaluation.threads = 2  # that decode photos

    c.bootstrap = ConfigDict()
    c.bootstrap.resamples = 1000  # of whole videos
    c.bootstrap.level = 0.95  # of the confidence intervals

    c.report = ConfigDict()
    c.report.layout = "dfd"  # table of deepfake detection; "diff": of images; "fas": error rates; "classes": of each
    c.report.predictions = "csv"  # or "parquet"

    # Verdicts on videos with abstention and conformal sets, fitted on a validation split and reported of test sets.
    c.report.selective = ConfigDict()
    # Whose probabilities: "none", as the network says them; "temperature"; "isotonic". "": nothing of this is reported.
    c.report.selective.calibration = ""
    c.report.selective.risk = 0.05  # share of wrong verdicts that is accepted; there is none on less sure videos
    c.report.selective.alpha = 0.1  # share of videos whose conformal set may lack their class
    c.report.selective.by_class = True  # the sets hold that for each class; False: for both together
    return c


def evaluate() -> ConfigDict:
    """One detector on many data sets, every field."""
    c = ConfigDict()
    c.job = "evaluate"
    # Workdir of a fine-tuning run, an export of one (file or folder), a serialized FILE.jax or FILE.onnx, or a
    # fine-tuned official FILE.pth or FILE.safetensors.
    c.checkpoint = ""

    c.data = ConfigDict()
    # "NAME=DIR:test,NAME=DIR:test"; published numbers stand beside those whose name has some. CLASS=DIR:test instead
    # of DIR:test says of which class of the detector the forged faces are.
    c.data.sets = ""
    # A labelled split on which thresholds are chosen and report.selective is fitted, such as "DIR:val"; "": the
    # thresholds that the detector has.
    c.data.threshold = ""

    c.official = ConfigDict()  # what official files do not say; for those alone
    c.official.classes = ""  # their classes by index, such as "fake,real"
    c.official.statistics = ""  # "": those of the file beside it; or "vggface2", "ffpp", "imagenet"
    c.official.norm_over = "tokens"  # of anti-spoofing networks, as in fine-tuning
    c.official.dtype = "bfloat16"  # of the matrix products; detectors of fsfm_jax know theirs
    c.official.transform = "resize_center"  # as evaluation.transform; detectors of fsfm_jax know theirs
    c.update(looking())
    c.evaluation.transform = ""  # "": that of the detector; another one is said in the table
    return c


def sets(folders: dict[str, str]) -> str:
    """The text of `data.sets` for records below `data/`: `{"CDFv2": "celebdf_v2:test"}`."""
    return ",".join(f"{name}=data/{folder}" for name, folder in folders.items())
