"""Cards of detectors with thresholds that can be told apart, for what reads them."""

from serialized import CALIBRATION

from fsfm_jax.metrics.card import Carded

ALARM = {
    "value": 0.4, "rule": "false negative rate <= 0.1", "split": "val", "false_positive_rate": 0.2,
    "false_negative_rate": 0.08,
}  # fmt: skip
EQUAL = ALARM | {"value": 0.6, "rule": "equal error", "false_negative_rate": 0.15}
# Another value for videos, so that the two cannot be taken for each other.
OF_VIDEOS = [EQUAL | {"value": 0.7}, ALARM | {"value": 0.55}]


class Detector(Carded):
    def __init__(self, calibration):
        self.card = {"class_names": ["fake", "real"], "real": 1, "calibration": calibration}


CARDED = Detector(CALIBRATION | {"temperature": 2.0, "thresholds": {"frame": [EQUAL, ALARM], "video": OF_VIDEOS}})
BARE = Detector(None)
