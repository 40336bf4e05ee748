"""Names and specs of evaluated data sets."""

import pytest

from fsfm_jax.data.class_map import Together
from fsfm_jax.data.forgery import ForgedSource
from fsfm_jax.data.labels import open_labelled
from fsfm_jax.detection.sets import open_sets, parse_sets


def test_specs_may_have_colons_classes_and_parts():
    text = "CDF-v2=data/a:test, T_2=spoof=data/b:x, all=real=data/c+c:test+fake=data/d:test"
    assert parse_sets(text, "data.sets") == {
        "CDF-v2": ["data/a:test"], "T_2": ["spoof=data/b:x"], "all": ["real=data/c+c:test", "fake=data/d:test"],
    }  # fmt: skip
    assert open_sets("a=forged:blend+diffusion:8", "data.sets", open_labelled)["a"].name.startswith("forged:blend+")
    both = open_sets("a=x=1+y=2", "data.sets", lambda part: ForgedSource(["blend"], 4, int(part[-1])))["a"]
    assert isinstance(both, Together) and len(both) == 8


@pytest.mark.parametrize("text", ["data/a:test", "=data/a", "../x=data/a", "a=x,a=y", "a=x,", "a b=x", ""])
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="data.sets: expected NAME=SPEC,NAME=SPEC with each name once; found"):
        open_sets(text, "data.sets", str)
