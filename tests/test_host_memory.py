"""Freed memory stays with a process that asks for it; nothing is asked for where an accelerator computes."""

import subprocess
import sys
from pathlib import Path

import pytest

from fsfm_jax import host_memory

ROOT = Path(__file__).parents[1]
# Pages that the system has to hand out for the temporary memory of a fourth step, and for a fourth plain array.
PAGES = """
import resource, sys
import jax, jax.numpy as jnp, numpy as np
from fsfm_jax import host_memory
assert sys.argv[1] == "leave" or host_memory.keep_freed_memory()

def large(x):
    products = x @ x.T
    return products @ products[:, :8]

def pages(work):
    for _ in range(4):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        work()
        found = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return found

step, x = jax.jit(large), jnp.ones((5000, 16))
print(pages(lambda: step(x).block_until_ready()), pages(lambda: np.ones(25_000_000)))
assert step.lower(x).compile().memory_analysis().temp_size_in_bytes > 90e6
"""


def pages(asked: str) -> list[int]:
    done = subprocess.run([sys.executable, "-c", PAGES, asked], cwd=ROOT, capture_output=True, text=True, check=True)
    return [int(number) for number in done.stdout.split()]


@pytest.mark.skipif(host_memory.accelerated() or not sys.platform.startswith("linux"), reason="of CPUs under glibc")
def test_the_memory_of_a_step_is_there_for_the_next_one():
    # 90 MB in huge pages of 2 MB are 43 of them, in small ones 22,000; the array is larger.
    assert max(pages("keep")) < 20 < 40 < min(pages("leave"))


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
