"""Without a GPU, Triton interprets its kernels: to be said before any test imports it."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
