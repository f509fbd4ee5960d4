"""Layers that PyTorch lacks: local connections without weight sharing, normalised unit by unit."""

from scratchconv.nn.locally_connected import LocallyConnected2d
from scratchconv.nn.unit_batch_norm import UnitBatchNorm2d

__all__ = ["LocallyConnected2d", "UnitBatchNorm2d"]
