"""Freed memory stays with the process, where the C library can be told so."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from ivg.memory import keep_memory

if "keep" in sys.argv and not keep_memory():
    sys.exit(3)
first = None
for _ in range(5):
    block = np.ones(2**24)  # 128 MB; every page is touched
    del block
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    first = first or faults
print(faults - first)
"""


def faults(*arguments: str) -> int:
    """Page faults of four large arrays, made one after the other when a first has been freed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True
    )
    if done.returncode == 3:
        pytest.skip("the C library here has no mallopt")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_freed_memory_is_used_again():
    assert faults("keep") < 100
