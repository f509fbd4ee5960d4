"""Triton kernels for NVIDIA GPUs, each beside its plain twin in torch.

Nothing here is imported with the package: Triton comes with the extra `gpu`, and each module of
this folder needs it. `available` says beforehand whether they can be used.

A launch never waits for the device, and what changes from step to step (the learning rate) is read
from device memory, so that a step can be captured in a CUDA graph. On a machine without a GPU,
`TRITON_INTERPRET=1` set before the first import runs the same kernels on the CPU: slowly, to test
them.
"""

from __future__ import annotations

import importlib.util
import os

import torch

NEEDED = "Triton for NVIDIA GPUs (pip install 'scratchconv[gpu]'), without TRITON_INTERPRET"
"""What is missing where `available` says no for a GPU."""


def available(device: torch.device | str) -> bool:
    """Whether the kernels of this folder run on tensors of `device`."""
    if importlib.util.find_spec("triton") is None or torch.version.hip is not None:
        return False
    return torch.device(device).type == ("cpu" if _interpreter_asked_for() else "cuda")


def _interpreter_asked_for() -> bool:
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "on", "yes", "y")
