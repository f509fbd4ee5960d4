"""Modules whose work the `SparseLinear` in front of them does: they hand on what they are given.

They keep their parameters, buffers and place in the model, so that its `state_dict` is unchanged.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class AbsorbedBatchNorm1d(nn.BatchNorm1d):
    """A BatchNorm1d that is computed by the layer in front of it."""

    def forward(self, input: Tensor) -> Tensor:
        return input

    @torch.no_grad()
    def track(self, mean: NDArray[np.float32], variance: NDArray[np.float32], samples: int) -> None:
        """Update the running statistics from those of a batch, as nn.BatchNorm1d does."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        unbiased = torch.from_numpy(variance) * (samples / (samples - 1))
        self.running_mean.lerp_(torch.from_numpy(mean), self.momentum)
        self.running_var.lerp_(unbiased, self.momentum)


class AbsorbedReLU(nn.ReLU):
    """A ReLU that is computed by the layer in front of it."""

    def forward(self, input: Tensor) -> Tensor:
        return input


class AbsorbedDropout(nn.Dropout):
    """A Dropout that is computed by the layer in front of it."""

    def forward(self, input: Tensor) -> Tensor:
        return input
