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


def describe_environment() -> dict[str, Any]:
    """Version and commit of scratchconv, hardware, and versions of the libraries that compute."""
    versions = {"python": platform.python_version()}
    versions |= {name: metadata.version(name) for name in _LIBRARIES}
    return {
        "version": scratchconv.__version__,
        "commit": _commit(),
        "hardware": _hardware(),
        "versions": versions,
    }


def _commit() -> str | None:
    """The commit of the checkout that this code runs from, with ``+`` where it was changed."""
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


def _hardware() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "memory_gib": round(memory / 2**30, 1),
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
