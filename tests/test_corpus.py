"""Inputs that a fuzzer made, read or refused as their reader says. Those that once went wrong are called `was-...`."""

from pathlib import Path

import pytest

from fsfm_jax.data.array_file import read_numbers
from fsfm_jax.prepare.media.unusable import Unusable
from reliability.fuzz_judge import READ, REFUSED, Target, judge
from reliability.fuzz_targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
LARGEST = 500_000  # bytes of all inputs; a parsing map has 50,000, a shard 131,072


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_are_read_or_refused_in_words_of_our_own(name, tmp_path):
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs, f"{name} has no inputs"
    outcomes = {path.name: judge(TARGETS[name], path.read_bytes(), tmp_path) for path in inputs}
    wrong = {file: found for file, found in outcomes.items() if found[0] not in (READ, REFUSED)}
    assert wrong == {}
    # Inputs that are all read, or all refused at the same place, would test one line.
    assert len({*outcomes.values()}) >= 2
    target = TARGETS[name]
    assert name == "sidecar" or READ in [judge(target, seed, tmp_path)[0] for seed in target.seeds()]
    assert all(len(seed) <= target.longest for seed in target.seeds())


def test_settings_reach_their_fields_and_none_stays_for_the_next(tmp_path):
    outcomes = [judge(TARGETS["configuration"], data, tmp_path)[0] for data in (b"mask.ratio=7", b"batch.size=8")]
    assert outcomes == [REFUSED, READ]


def test_the_corpus_is_small_and_belongs_to_targets():
    assert {path.name for path in CORPUS.iterdir()} == TARGETS.keys()
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) < LARGEST


def raising(error: Exception):
    def read(data, folder):
        raise error

    return read


def reading_numbers(data, folder):
    (folder / "array").write_bytes(data)
    read_numbers(folder / "array", 10)


@pytest.mark.parametrize(("read", "outcome", "place"), [
        (lambda data, folder: None, READ, ""),
        (reading_numbers, REFUSED, "array_file.py"),
        # Documented, but said by this file, not by a reader.
        (raising(ValueError("a sentence of some words")), "ValueError in the words of others", "test_corpus.py"),
        (raising(KeyError("name")), "KeyError in the words of others", "test_corpus.py"),
        (raising(MemoryError()), "MemoryError in the words of others", "test_corpus.py"),
        (lambda data, folder: Unusable("no reason", "..."), "KeyError in the words of others", "unusable.py"),
        (lambda data, folder: int("x" * 5), "ValueError in the words of others", "test_corpus.py"),
    ])  # fmt: skip
def test_the_judge_tells_what_is_wrong(tmp_path, read, outcome, place):
    found = judge(Target("one", read, (ValueError,), list), b"\x1b[2J", tmp_path)
    assert found[0].split(":")[0] == outcome and found[1].split(":")[0] == place


def test_the_judge_wants_words_that_can_be_shown(tmp_path):
    target = Target("one", reading_numbers, (ValueError,), list, fewest=100)
    assert judge(target, b"", tmp_path)[0].startswith("no sentence to show to a user")
    other = Target("one", reading_numbers, (Unusable,), list)
    assert judge(other, b"", tmp_path)[0].startswith("ValueError in the words of others")
