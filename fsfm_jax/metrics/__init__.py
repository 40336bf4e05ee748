"""The numbers by which detectors are judged, on NumPy and SciPy alone, in float64, as fractions of 1 (never percent).

Everywhere label 1 is the positive class and a higher score means "more likely positive"; `score >= threshold` decides
for positive. Both tasks of the released code score the genuine face, and so do we:

| `Classes`       | positive (1) | negative (0) | false positive rate                 | false negative rate            |
|-----------------|--------------|--------------|-------------------------------------|--------------------------------|
| `DEEPFAKE`      | real         | fake         | FAR: fakes that pass as real        | FRR: real faces called fake    |
| `ANTI_SPOOFING` | bona fide    | attack       | FAR, APCER: attacks that are let in | FRR, BPCER: bona fide refused  |

A number that cannot be computed, above all with one class only, is a NaN with its reason (`value.Value`).
"""
