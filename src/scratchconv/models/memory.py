"""Refuse a network that cannot fit the memory, before any of it is allocated."""

from __future__ import annotations

import os
from pathlib import Path

from scratchconv.errors import InvalidArgument

_GIB = 2**30
_MEMORY_INFORMATION = Path("/proc/meminfo")
_CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")


def check(name: str, alpha: int, weights: int) -> None:
    """Raise `InvalidArgument` if float32 weights alone need more than the memory available."""
    needed, available = 4 * weights, available_bytes()
    if available is not None and needed > available:
        raise InvalidArgument(
            f"{name} with alpha {alpha} has {weights:,} weights and needs {needed / _GIB:.1f} GiB "
            f"for them alone, but {available / _GIB:.1f} GiB are available: choose a smaller alpha "
            "or params"
        )


def available_bytes() -> int | None:
    """Memory that can be had without swapping, in bytes; None where the system does not tell."""
    known = [size for size in (_unused(), _container_limit()) if size is not None]
    return min(known, default=None)


def _unused() -> int | None:
    """What Linux calls available; elsewhere all physical memory."""
    if _MEMORY_INFORMATION.exists():
        for line in _MEMORY_INFORMATION.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _container_limit() -> int | None:
    """The limit of the control group (version 2), if there is one."""
    try:
        return int(_CONTAINER_LIMIT.read_text())
    except (OSError, ValueError):  # no such file, or it reads "max"
        return None
