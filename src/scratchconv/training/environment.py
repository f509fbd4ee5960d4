"""What a result depends on besides its configuration: code, machine and library versions."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import scratchconv

_LIBRARIES = ("torch", "numpy", "numba", "safetensors")


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Version and commit of scratchconv, hardware, and versions of the libraries that compute."""
    return {
        "version": scratchconv.__version__,
        "commit": commit(),
        "hardware": {
            "cpu": _cpu_name(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": _gpu_name(device),
            "memory_gib": _memory_gib(),
        },
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in _LIBRARIES},
    }


def rounding(device: torch.device) -> dict[str, Any]:
    """What the last digits of a result depend on besides the configuration.

    Only where all of it is the same does a run that goes on equal one that never stopped.
    """
    on_gpu = device.type == "cuda"
    return {
        "scratchconv": scratchconv.__version__,
        "torch": torch.__version__,
        "processor": _gpu_name(device) if on_gpu else _cpu_name(),
        "threads": None if on_gpu else torch.get_num_threads(),
    }


def commit() -> str | None:
    """The commit of the checkout that this code runs from, with `+` where it was changed."""
    package = Path(__file__).resolve().parent
    git = ["git", "-C", str(package)]
    try:
        # An installed copy may lie inside somebody else's repository; only our own tracks us.
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], check=True, **_QUIET)
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], check=True, **_QUIET)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", "--", str(package.parent)],
            check=True,
            **_QUIET,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return str(head.stdout).strip() + ("+" if str(changed.stdout).strip() else "")


_QUIET: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 10}


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:  # a build of one's own may carry no metadata
        return None


def _gpu_name(device: torch.device) -> str | None:
    if not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_name(device if device.type == "cuda" else None)


def _memory_gib() -> float | None:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has none of this
        return None
    return round(size / 2**30, 1)


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
