"""Whether the package holds: fuzzers, hostile files, killed runs, long runs. Not part of what is installed."""

from pathlib import Path

RESULTS = Path(__file__).parent / "results"
