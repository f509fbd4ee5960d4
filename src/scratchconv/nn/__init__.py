"""Layers that PyTorch lacks.

Local connections without weight sharing, normalised unit by unit; and sharing without locality.
Also a convolution with kernels as large as the image, for which PyTorch's is slow.
"""

from scratchconv.nn.cyclic_convolution import CyclicConv2d
from scratchconv.nn.large_kernel_convolution import LargeKernelConv2d
from scratchconv.nn.locally_connected import LocallyConnected2d
from scratchconv.nn.unit_batch_norm import UnitBatchNorm2d

__all__ = ["CyclicConv2d", "LargeKernelConv2d", "LocallyConnected2d", "UnitBatchNorm2d"]
