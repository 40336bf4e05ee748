"""Configuration fields of an evaluation: one detector on many data sets."""

from ml_collections import ConfigDict


def looking() -> ConfigDict:
    """Return the evaluation and report settings; fine-tuning has these fields as well."""
    c = ConfigDict()
    c.evaluation = ConfigDict()
    c.evaluation.transform = "resize_center"  # shorter side to 256, centre crop of 224; "resize": whole crop to 224
    c.evaluation.batch = 320  # images scored at a time, over all devices
    c.evaluation.threads = 2  # threads that decode photos

    c.bootstrap = ConfigDict()
    c.bootstrap.resamples = 1000  # bootstrap resamples, drawn over whole videos
    c.bootstrap.level = 0.95  # level of the confidence intervals, as a fraction

    c.report = ConfigDict()
    c.report.layout = "dfd"  # table: "dfd" deepfakes; "diff" images; "fas" error rates; "classes" per class
    c.report.predictions = "csv"  # file format of the predictions: "csv" or "parquet"

    # Verdicts on videos with abstention and conformal sets: fitted on a validation split, reported for the test sets.
    c.report.selective = ConfigDict()
    # Calibration of the probabilities: "none" (the network's own), "temperature" or "isotonic"; "": no such report.
    c.report.selective.calibration = ""
    c.report.selective.risk = 0.05  # share of wrong verdicts to accept; less certain videos get no verdict
    c.report.selective.alpha = 0.1  # share of videos whose conformal set may miss the true class
    c.report.selective.by_class = True  # True: alpha holds for each class; False: for both classes together
    return c


def evaluate() -> ConfigDict:
    """Return the fields of an evaluation: one detector on many data sets."""
    c = ConfigDict()
    c.job = "evaluate"
    # The detector: working directory of a fine-tuning run, its export (file or folder), a serialized FILE.jax or
    # FILE.onnx, or a fine-tuned official FILE.pth or FILE.safetensors.
    c.checkpoint = ""

    c.data = ConfigDict()
    # Test sets, written "NAME=DIR:test,NAME=DIR:test". The table adds published numbers for the names that have some.
    # Write CLASS=DIR:test instead of DIR:test to set the detector's class of the forged faces.
    c.data.sets = ""
    # Labelled split on which thresholds are chosen and report.selective is fitted, such as "DIR:val"; "": use the
    # thresholds stored with the detector.
    c.data.threshold = ""

    c.official = ConfigDict()  # facts that official files do not contain; for official files only
    c.official.classes = ""  # class names in index order, such as "fake,real"; for official files only
    c.official.statistics = ""  # pixel statistics: "vggface2", "ffpp", "imagenet"; "": those stored with the file
    c.official.norm_over = "tokens"  # normalisation of official anti-spoofing networks, as model.norm_over
    c.official.dtype = "bfloat16"  # dtype of the matrix products; for official files only
    c.official.transform = "resize_center"  # as evaluation.transform; for official files only
    c.update(looking())
    c.evaluation.transform = ""  # image transform; "": that of the detector; the table names a different one
    return c


def sets(folders: dict[str, str]) -> str:
    """Return the text of `data.sets` for records below `data/`, from `{"CDFv2": "celebdf_v2:test"}`."""
    return ",".join(f"{name}=data/{folder}" for name, folder in folders.items())
