"""Redacted verdicts: no path, no words of files or programs, and no name that two commands share."""

import json

import pytest

from fsfm_jax.apps.reading import PHOTO, Miss
from fsfm_jax.apps.redaction import Redaction
from fsfm_jax.apps.verdict import Verdict


def verdict(path: str, reason: str, detail: str) -> Verdict:
    notes = ("19 faces, 1 judged", "colours converted from Jane's monitor to sRGB")
    return Verdict(path, PHOTO, (), (Miss(3, "damaged", "Jane: no"),), 0.5, None, "", None, reason, detail, notes=notes)


@pytest.mark.parametrize(("reason", "detail", "shown"), [
        ("died", "it said: /home/Jane/x.jpg", "the process that decoded the file ended, such as for lack of memory"),
        ("unsupported_frame", "found ['Jane']", "the HDF5 frame is not a colour picture of 8 bits"),
        ("few_frames", "only 2 of 32 frames have a face", "only 2 of 32 frames have a face"),
    ])  # fmt: skip
def test_what_names_a_file_or_quotes_it_is_replaced_and_numbers_stay(reason, detail, shown):
    redaction = Redaction()
    found = redaction.redact(verdict("/home/Jane/\udcff.jpg", reason, detail))
    assert "Jane" not in json.dumps(found.as_json())
    assert (found.reason, found.detail, found.score) == (reason, shown, 0.5)
    assert found.notes == ("19 faces, 1 judged", "colours converted to sRGB")


def test_a_file_has_one_name_in_a_command_and_another_one_in_the_next():
    one, other = Redaction(), Redaction()
    assert one.name("a.jpg") == one.name("a.jpg") != one.name("b.jpg")
    assert one.name("a.jpg") != other.name("a.jpg") and len(one.name("a.jpg")) == len("file-") + 16
