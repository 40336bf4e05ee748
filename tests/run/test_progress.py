"""The line that says how far a long job is, with a clock that is turned by hand."""

import pytest

from fsfm_jax.run import progress

AGAIN = "\r\x1b[K"  # the same line of a terminal


@pytest.mark.parametrize("terminal, lines", [
        (False, ["A: 3 of 40 images, 0.5 a second, 1m14s left\n", "B: 11 of 40 images, 0.5 a second, 0m58s left\n"]),
        (True, [f"{AGAIN}A: {count} of 40 images, 0.5 a second, 1m{left}s left" for count, left in ((3, 14), (4, 12))]),
    ])  # fmt: skip
def test_nothing_is_shown_for_five_seconds_then_how_long_it_takes(terminal, lines, monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: terminal, raising=False)
    shown = progress.Progress(40, "images")
    shown.about = "A"
    for count in range(4 if terminal else 15):
        shown.about = "A" if count < 10 else "B"
        now[0] += 2  # seconds that each takes
        shown.add()
    shown.close()
    assert capsys.readouterr().err == "".join(lines) + ("\n" if terminal else "")
