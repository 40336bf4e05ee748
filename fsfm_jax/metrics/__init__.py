"""Metrics of detectors, with NumPy and SciPy only, in float64, as fractions of 1 (never percent).

Label 1 is the positive class, and a higher score means "more likely positive". An example with `score >= threshold` is
classified as positive. As in both tasks of the released code, the genuine face is the positive class:

| `Classes`       | positive (1) | negative (0) | false positive rate                 | false negative rate            |
|-----------------|--------------|--------------|-------------------------------------|--------------------------------|
| `DEEPFAKE`      | real         | fake         | FAR: fakes that pass as real        | FRR: real faces called fake    |
| `ANTI_SPOOFING` | bona fide    | attack       | FAR, APCER: attacks that are let in | FRR, BPCER: bona fide refused  |

A metric that cannot be computed, for example because one class is missing, is NaN with a reason (`value.Value`).
"""
