"""Freed memory stays with a process that asks for it; nothing is asked for where an accelerator computes."""

import subprocess
import sys
from pathlib import Path

import pytest

from fsfm_jax import host_memory

ROOT = Path(__file__).parents[1]
# Pages that the system has to hand out again for an array that another one of its size was freed for.
PAGES = """
import resource, sys
import numpy as np
from fsfm_jax import host_memory
asked = sys.argv[1] == "keep"
assert not asked or host_memory.keep_freed_memory()
def fill():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(25_000_000)  # 200 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
fill()
print(fill())
"""


def pages(asked: str) -> int:
    done = subprocess.run([sys.executable, "-c", PAGES, asked], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(host_memory.accelerated() or not sys.platform.startswith("linux"), reason="of CPUs under glibc")
def test_memory_that_was_freed_is_there_again():
    # 200 MB in huge pages of 2 MB are 100 of them; in small ones 48,828.
    assert pages("keep") < 10 < 90 < pages("leave")


@pytest.mark.parametrize("found", ["plugin", "libtpu"])
def test_nothing_is_asked_for_where_an_accelerator_computes(found, monkeypatch):
    monkeypatch.setattr(host_memory.importlib.metadata, "entry_points", lambda group: ["cuda"] * (found == "plugin"))
    spec = object() if found == "libtpu" else None
    monkeypatch.setattr(host_memory.importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(host_memory.ctypes, "CDLL", None)  # calling it would raise
    assert host_memory.keep_freed_memory() is False


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(host_memory, "accelerated", lambda: False)
    monkeypatch.setattr(host_memory.sys, "platform", "linux")
    monkeypatch.setattr(host_memory.ctypes, "CDLL", lambda name: object())  # has no gnu_get_libc_version
    assert host_memory.keep_freed_memory() is False
