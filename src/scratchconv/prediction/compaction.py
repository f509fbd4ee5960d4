"""From a trained model to a `CompactNetwork`: only what its outputs depend on.

1. BatchNorm is folded into weights and biases, in float64; each weight is then rounded once.
2. A unit whose incoming weights are all zero outputs a constant. From the first layer to the last,
   constants move into the next layer's bias and their units go; that may leave further units
   without weights.
3. From the last layer to the first, units that nothing reads go; at the end, inputs that nothing
   reads are left out.

What is computed is what the model computes in evaluation mode, up to the rounding of float32. One
thing differs: a weight that is zero ignores NaN and infinity, where the model multiplies them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.csr_matrix import CSRMatrix
from scratchconv.kernels.tiles import SMALLEST_NORMAL
from scratchconv.prediction.affine_chain import Affine, affine_chain
from scratchconv.prediction.network import CompactLayer, CompactNetwork


def compact(
    model: nn.Module,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> CompactNetwork:
    """What is left of `model` once everything that cannot matter is dropped; it is not changed.

    Args:
        model: a `Network` of this package or an ``nn.Sequential``: a chain of Linear,
            LocallyConnected2d, BatchNorm, ReLU, Dropout, Flatten and Identity. It is taken as in
            evaluation mode, whatever mode it is in.
        mean, std: of each channel of the training images, in [0, 1] units (as `Dataset` has them),
            if the network is to take uint8 images.

    Raises InvalidArgument: the model is no such chain, or has weights that are not finite.
    """
    chain = affine_chain(model)
    layers = [_Layer(affine) for affine in chain.layers]
    for before, after in pairwise(layers):
        _drop_constants(before, after)
    for before, after in reversed(list(pairwise(layers))):
        before.keep_units(after.keep_inputs_read())
    # Where a layer reads nothing, nothing is left of those in front of it.
    while not layers[0].matrix.shape[0] and len(layers) > 1:
        del layers[0]
    inputs = layers[0].keep_inputs_read()
    network = CompactNetwork(
        layers=tuple(layer.finished() for layer in layers),
        inputs=inputs.astype(np.int32),
        features=chain.features,
        image=chain.image,
    )
    return network.normalised_by(mean, std)


class _Layer:
    """A layer on its way to a `CompactLayer`, in float64; `units` are those that are left."""

    def __init__(self, affine: Affine) -> None:
        self.name, self.bias, self.relu = affine.name, affine.bias, affine.relu
        self.matrix: Any = affine.matrix.astype(np.float64)
        with np.errstate(over="ignore"):
            rounded = self.matrix.data.astype(np.float32)
        # A weight that float32 holds as zero or as a subnormal number is no weight.
        self.matrix.data[np.abs(rounded) < SMALLEST_NORMAL] = 0
        self.matrix.eliminate_zeros()
        self.all_units, self.all_inputs = self.matrix.shape
        self.units = np.arange(self.all_units)

    def keep_units(self, kept: NDArray[Any]) -> None:
        """Keep the units with these numbers (or where this mask is true), among those left."""
        self.matrix, self.bias = self.matrix[kept], self.bias[kept]
        self.units = self.units[kept]

    def keep_inputs_read(self) -> NDArray[np.intp]:
        """Drop the columns without a weight; the numbers of the others."""
        read = np.flatnonzero(np.bincount(self.matrix.indices, minlength=self.matrix.shape[1]))
        self.matrix = self.matrix[:, read]
        return read

    def finished(self) -> CompactLayer:
        self.matrix.sort_indices()
        with np.errstate(over="ignore"):
            matrix = CSRMatrix.from_scipy(self.matrix)
            bias = self.bias.astype(np.float32)
        if not (np.isfinite(matrix.values).all() and np.isfinite(bias).all()):
            raise InvalidArgument(
                f"module {self.name!r} has weights beyond the range of float32 once the BatchNorm"
                " behind it is folded in"
            )
        return CompactLayer(
            name=self.name,
            matrix=matrix,
            bias=bias,
            relu=self.relu,
            units=self.units.astype(np.int32),
            all_units=self.all_units,
            all_inputs=self.all_inputs,
        )


def _drop_constants(before: _Layer, after: _Layer) -> None:
    """Drop the units of `before` without weights; what they output moves into `after.bias`."""
    alive = np.diff(before.matrix.indptr) > 0
    outputs = np.where(alive, 0, np.maximum(before.bias, 0) if before.relu else before.bias)
    after.bias = after.bias + after.matrix @ outputs
    before.keep_units(alive)
    after.matrix = after.matrix[:, alive]
