"""The channel statistics beside an official file: what is taken and what is refused."""

import os

import pytest
from official_weights import VGGFACE2, write_statistics

from fsfm_jax.tasks.normalisation import Statistics
from fsfm_jax.weights.official_statistics import statistics_beside


def test_the_first_line_counts_up_to_the_ends_of_its_range(tmp_path):
    path = str(tmp_path / "a.pth")
    assert statistics_beside(path) is None
    write_statistics(tmp_path)
    assert statistics_beside(path) == Statistics(tuple(VGGFACE2["mean"]), tuple(VGGFACE2["std"]))
    write_statistics(tmp_path, '{"mean": [0, 1, 0.5], "std": [1, 0.001, 1.0]}')
    assert statistics_beside(str(tmp_path / "a.pth")) == Statistics((0.0, 1.0, 0.5), (1.0, 0.001, 1.0))
    (tmp_path / "pretrain_ds_mean_std.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="mean_std.txt: no text: "):
        statistics_beside(str(tmp_path / "a.pth"))


@pytest.mark.parametrize(("text", "message"), [
        ("\n", "the first line is no JSON: '.n'"),
        ('{"mean": [0.5, 0.5', "the first line is no JSON: "),
        ("[" * 9000, "the first line is no JSON: "),
        ("[0.5, 0.5, 0.5]", r'expected {"mean": \[r, g, b\], "std": \[r, g, b\]}; found .\[0.5'),
        ('{"mean": [0.5, 0.5, 0.5]}', "std: expected three numbers, red, green, blue; found None"),
        ('{"mean": [0.5, 0.5], "std": [0.2, 0.2, 0.2]}', r"mean: expected three numbers.*; found \[0.5, 0.5\]"),
        ('{"mean": [0.5, "0.5", 0.5], "std": [0.2, 0.2, 0.2]}', "mean: expected three numbers"),
        ('{"mean": [0.5, true, 0.5], "std": [0.2, 0.2, 0.2]}', "mean: expected three numbers"),
        ('{"mean": [0.5, NaN, 0.5], "std": [0.2, 0.2, 0.2]}', "mean: expected numbers from 0 to 1; found"),
        ('{"mean": [0.5, -0.1, 0.5], "std": [0.2, 0.2, 0.2]}', "mean: expected numbers from 0 to 1; found"),
        ('{"mean": [0.5, 1e300, 0.5], "std": [0.2, 0.2, 0.2]}', "mean: expected numbers from 0 to 1; found"),
        (f'{{"mean": [0.5, 1{"0" * 400}, 0.5], "std": [0.2, 0.2, 0.2]}}', "mean: expected numbers from 0 to 1; found"),
        ('{"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.0, 0.2]}', "std: expected numbers from more than 0, up to 1; found"),
        ('{"mean": [0.5, 0.5, 0.5], "std": [0.2, Infinity, 0.2]}', "std: expected numbers from more than 0, up to 1"),
        ('{"mean": [139.8, 108.0, 93.2], "std": [71.1, 62.2, 59.9]}', r"mean: .* scale of 0\.\.255; divide it by 255"),
        ('{"mean": [0.5, 0.5, 0.5], "std": [71.1, 62.2, 59.9]}', r"std: .* scale of 0\.\.255; divide it by 255"),
    ])  # fmt: skip
def test_wrong_statistics_are_refused(tmp_path, text, message):
    beside = write_statistics(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        statistics_beside(str(tmp_path / "a.pth"))
    assert str(error.value).startswith(f"{beside}: ")


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pretrain_ds_mean_std.txt")
    with pytest.raises(ValueError, match="pretrain_ds_mean_std.txt: expected a file; found a folder, a named pipe or"):
        statistics_beside(str(tmp_path / "a.pth"))
