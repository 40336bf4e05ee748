"""Reliability tests: fuzzers, hostile files, killed runs, long runs. Not part of the installed package."""

from pathlib import Path

RESULTS = Path(__file__).parent / "results"
