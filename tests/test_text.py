"""Names in messages: the closest one, and the first of many."""

import pytest

from fsfm_jax.text import did_you_mean, join_first


@pytest.mark.parametrize(("names", "most", "expected"), [
        ([], 10, ""), (list("ab"), 2, "a, b"), (list("abc"), 2, "a, b and 1 more"),
        ([*"abcdefghijkl"], 10, "a, b, c, d, e, f, g, h, i, j and 2 more"), (["x" * 5000], 10, "x" * 200),
    ])  # fmt: skip
def test_the_first_of_many_names(names, most, expected):
    assert join_first(names, most) == expected
    assert join_first(["a", "b", "c"], 2, "\n") == "a\nb and 1 more"


def test_the_closest_name():
    assert did_you_mean("vitt_b", ["vit_b", "vit_l"]) == "; did you mean 'vit_b'?"
    assert did_you_mean("zzz", ["vit_b"]) == did_you_mean("vit", []) == ""
