"""Freed memory is kept inside a training run and given back after it."""

import ctypes
import subprocess
import sys

import pytest

from scratchconv.training.allocation import freed_memory_kept

_HAS_GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


_COUNTED = """
import resource
import torch
from scratchconv.training.allocation import freed_memory_kept

def page_faults(repeats):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(repeats):
        torch.empty(2**26, dtype=torch.uint8).fill_(1)  # 64 MiB: by default always mapped anew
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with freed_memory_kept():
    page_faults(4)
    inside = page_faults(4)
print(inside, page_faults(4))
"""


@pytest.mark.skipif(not _HAS_GLIBC, reason="only glibc is told to keep memory")
def test_the_same_pages_are_used_again_inside_and_given_back_after():
    # In a process of its own: where other tests have left the heap no room to grow, glibc maps
    # memory anew whatever it is told.
    process = subprocess.run(
        [sys.executable, "-c", _COUNTED], capture_output=True, text=True, check=True
    )
    inside, after = map(int, process.stdout.split())
    assert 10 * inside < after


def test_an_error_within_is_the_callers():
    with pytest.raises(ValueError, match="from within"), freed_memory_kept():
        raise ValueError("from within")
