"""Names and specs of evaluated data sets."""

import pytest

from fsfm_jax.detection.sets import open_sets


def test_specs_may_have_colons_and_classes():
    found = open_sets("CDF-v2=data/a:test, T_2=spoof=data/b:x", "data.sets", str)
    assert found == {"CDF-v2": "data/a:test", "T_2": "spoof=data/b:x"}


@pytest.mark.parametrize("text", ["data/a:test", "=data/a", "../x=data/a", "a=x,a=y", "a=x,", "a b=x", ""])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="data.sets: expected NAME=SPEC,NAME=SPEC with each name once; found"):
        open_sets(text, "data.sets", str)
