"""The papers' tables from summaries, cell by cell."""

import pytest

from fsfm_jax.detection.published_numbers import MEANINGS
from fsfm_jax.detection.tables import table
from fsfm_jax.resolve.report import LAYOUTS


def level(auc, eer, examples, thresholds=(), interval=(None, None), **metrics):
    undefined = {} if auc is not None else {"auc": "no fake among 4 examples"}
    return {
        "examples": examples, "metrics": {"auc": auc, "equal_error_rate": eer, **metrics}, "undefined": undefined,
        "thresholds": list(thresholds), "intervals": {"auc": {"low": interval[0], "high": interval[1]}},
    }  # fmt: skip


def at(rule, oracle, **metrics):
    return {"rule": rule, "oracle": oracle, "metrics": metrics}


def cells(text, name):
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


FIXED = at("fixed at 0.5", False, balanced_accuracy=0.75, accuracy=0.7)


def test_deepfakes():
    good = {"frame": level(0.8, 0.2, 1234, interval=(0.7, 0.9)), "video": level(0.9, 0.1, 40, [FIXED])}
    bad = {"frame": level(0.5, 0.2, 8), "video": level(None, None, 4, [FIXED])}
    text = table({"CDFv2": good, "mine": bad}, "dfd", ["Chosen so."])
    ours = ["80.00 (70.00–90.00)", "90.00", "10.00", "75.00"]
    others = ["87.64ᵃ, 86.13ᵗ", "95.17ᵃ, 94.42ᵗ, 91.99ᵗ"]
    assert cells(text, "CDFv2") == [*ours, "85.05", "91.44", *others]
    assert cells(text, "mine") == ["50.00", "undefined", "undefined", "75.00", "–", "–", "–", "–"]
    assert cells(text, "mean") == ["65.00", "–", "–", "75.00", "–", "–", "–", "–"]
    assert "mine: auc is undefined, no fake among 4 examples" in text and "Chosen so." in text
    # Whose the published numbers are, each kind by its mark.
    below = text.split("\n\n")[1].splitlines()
    assert [line.split(": ")[0] for line in below[1:5]] == [
        "Columns called published are of FSFM ViT-B.  ", *MEANINGS.values()
    ]  # fmt: skip
    # A model of which nothing is published on these sets has no column.
    alone = table({"WDF": good, "mine": bad}, "dfd", [])
    assert cells(alone, "WDF")[-2:] == ["85.26", "86.96"] and "FS-VFM" not in alone and "ᵗ" not in alone
    both = table({"WDF": good, "DFDC": good}, "dfd", [])
    assert cells(both, "mean")[-3:] == [f"{(85.26 + 80.20) / 2:.2f}", f"{(86.96 + 83.47) / 2:.2f}", "–"]


def test_diffusion_is_about_images():
    summary = {"frame": level(0.6, 0.4, 50, [FIXED]), "video": level(0.6, 0.4, 50)}
    text = table({"T2I": summary, "FE": summary}, "diff", [])
    assert cells(text, "T2I") == ["60.00", "40.00", "70.00", "75.00", "61.74"]
    assert cells(text, "mean") == ["60.00", "40.00", "70.00", "75.00", f"{(61.74 + 78.98) / 2:.2f}"]


def test_the_oracle_of_anti_spoofing_has_a_column_of_its_own():
    own = at("equal error", False, half_total_error_rate=0.2)
    oracle = at("least |FRR - FAR| on the grid k/10000", True, half_total_error_rate=0.1)
    video = level(0.95, 0.1, 30, [FIXED, own, oracle], tpr_at_fpr_1_percent=0.6)
    summary = {"frame": level(0.9, 0.1, 60), "video": video}
    assert cells(table({"ICM2O": summary}, "fas", []), "ICM2O") == [
        "20.00", "10.00", "95.00", "60.00", "7.68", "97.11",
    ]  # fmt: skip
    # Without a threshold from elsewhere there is none: neither the oracle nor one chosen on the set itself steps in.
    fitted = at("equal error", True, half_total_error_rate=0.05)
    alone = {**summary, "video": {**video, "thresholds": [FIXED, fitted, oracle]}}
    assert cells(table({"ICM2O": alone}, "fas", []), "ICM2O")[:2] == ["undefined", "10.00"]


def test_classes_have_recall_and_area_each():
    each = {"real": {"recall": 0.9, "auc": 0.8}, "spoof": {"recall": None, "auc": 0.7}}
    classes = {"metrics": {"accuracy": 0.85}, "classes": {name: {"metrics": m} for name, m in each.items()}}
    summary = {"frame": level(0.8, 0.2, 9), "video": level(0.8, 0.2, 9), "classes": classes}
    text = table({"a": summary}, "classes", [])
    assert cells(text, "a") == ["85.00", "90.00", "undefined", "80.00", "70.00"]
    assert "AUC of spoof" in text and "mean" not in text


def of_method(auc, real, forged):
    undefined = {} if auc is not None else {"auc": f"no real among {forged} examples"}
    return {"positives": real, "negatives": forged, "metrics": {"auc": auc}, "undefined": undefined}


def test_each_manipulation_has_a_row_of_its_own():
    whole = {"frame": level(0.8, 0.2, 9), "video": level(0.8, 0.2, 9)}
    swap = {"frame": of_method(0.75, 5696, 11520), "video": of_method(0.875, 178, 1360)}
    talk = {"frame": of_method(None, 0, 32), "video": of_method(None, 0, 1)}
    results = {"old": whole, "CDFpp": {**whole, "methods": {"FaceSwap": swap, "a|b": talk}}}
    first, second = table(results, "dfd", ["A note."]).split("## AUC of each manipulation, %\n\n")
    assert first.rstrip("\n") == table(dict.fromkeys(results, whole), "dfd", ["A note."]).rstrip("\n")
    assert second.splitlines()[0] == "| data set | manipulation | forged videos | real videos | frame AUC | video AUC |"
    assert cells(second, "CDFpp | FaceSwap")[1:] == ["1,360", "178", "75.00", "87.50"]
    assert second.splitlines()[3] == r"| CDFpp | a\|b | 1 | 0 | undefined | undefined |"
    assert second.splitlines()[-1] == "CDFpp, a|b: auc is undefined, no real among 1 examples" and "old" not in second
    _, images = table(results, "diff", []).split("## AUC of each manipulation, %\n\n")
    assert images.splitlines()[0] == "| data set | manipulation | forged images | real images | AUC |"
    assert cells(images, "CDFpp | FaceSwap")[1:] == ["11,520", "5,696", "75.00"]
    # A set that names no manipulation has no section, nor have results from before.
    assert "manipulation" not in table({"a": {**whole, "methods": {}}, "old": whole}, "dfd", [])


def test_another_layout_is_refused():
    summary = {"frame": level(0.8, 0.2, 9), "video": level(0.8, 0.2, 9)}
    with pytest.raises(ValueError, match=f"report.layout: expected one of {', '.join(LAYOUTS)}; found 'dfg'"):
        table({"a": summary}, "dfg", [])
