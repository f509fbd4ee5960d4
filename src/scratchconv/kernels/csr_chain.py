"""`CSRChain`: sparse layers to apply in turn, checked once and then trusted; what `chain_product`
runs. `Reading` is what the first of them takes of a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.csr_matrix import CSRMatrix, Float32Array, OffsetArray
from scratchconv.kernels.tiles import SMALLEST_NORMAL


class ChainLayer(NamedTuple):
    """``relu?(matrix @ x + bias)``; the bias float32, one for each row of the matrix."""

    matrix: CSRMatrix
    bias: Float32Array
    relu: bool

    @property
    def least(self) -> np.float32:
        """Outputs below this become 0. NaN is below nothing, so it stays NaN."""
        least: np.float32 = SMALLEST_NORMAL if self.relu else np.float32(-np.inf)
        return least


class Places(NamedTuple):
    """Of one layer: its size, and where its part of each joined array starts."""

    rows: int
    features: int
    value: int
    offset: int
    bias: int
    block: int
    blocks: int


class ChainArrays(NamedTuple):
    """What kernels are handed: `places`, int64 (layers, fields of `Places`), and joined arrays."""

    places: NDArray[np.int64]
    least: Float32Array
    values: Float32Array
    columns: NDArray[np.int32]
    offsets: OffsetArray
    bias: Float32Array
    blocks: NDArray[np.int64]


class CSRChain:
    """Layers to apply in turn, their arrays joined into one of each kind.

    layers: as given, but their values, columns, offsets and biases are parts of the joined arrays,
    so that nothing is held twice.

    Raises InvalidArgument: there is no layer, or one does not fit the one before or its bias.
    """

    def __init__(self, layers: Sequence[ChainLayer]) -> None:
        _check(layers)
        matrices = [layer.matrix for layer in layers]
        places = _places(matrices)
        # Kernels are compiled for one type of offsets, and nearly always the narrow one will do.
        narrow = all(matrix.nonzero < 2**31 for matrix in matrices)
        kind = np.int32 if narrow else np.int64
        self.arrays = ChainArrays(
            np.array(places, np.int64),
            np.array([layer.least for layer in layers], np.float32),
            np.concatenate([matrix.values for matrix in matrices]),
            np.concatenate([matrix.columns for matrix in matrices]),
            np.concatenate([matrix.offsets.astype(kind, copy=False) for matrix in matrices]),
            np.concatenate([layer.bias for layer in layers]),
            np.concatenate([matrix.blocks for matrix in matrices]),
        )
        relus = [layer.relu for layer in layers]
        self.layers = tuple(map(self._part, places, matrices, relus))
        self.nonzero = self.arrays.values.size
        self.features, self.units = places[0].features, places[-1].rows
        self.widest = int(self.arrays.places[:, :2].max())

    def _part(self, at: Places, matrix: CSRMatrix, relu: bool) -> ChainLayer:
        values = slice(at.value, at.value + matrix.nonzero)
        part = CSRMatrix(
            values=self.arrays.values[values],
            columns=self.arrays.columns[values],
            offsets=self.arrays.offsets[at.offset : at.offset + at.rows + 1],
            features=at.features,
        )
        return ChainLayer(part, self.arrays.bias[at.bias : at.bias + at.rows], relu)

    @property
    def size_in_bytes(self) -> int:
        """Memory of values, columns, offsets and biases."""
        _, _, *held, _ = self.arrays
        return sum(array.nbytes for array in held)


class Reading:
    """Which features of a sample are read, and how each is scaled and shifted on the way.

    features: int32 (read,), each in [0, `all_features`).
    scale, shift: float32 (read,).
    size: how many are read.

    Raises InvalidArgument: a dtype, a shape or a feature is not as said here.
    """

    class Arrays(NamedTuple):
        features: NDArray[np.int32]
        scale: Float32Array
        shift: Float32Array

    def __init__(
        self,
        features: NDArray[np.int32],
        scale: Float32Array,
        shift: Float32Array,
        all_features: int,
    ) -> None:
        dtypes = [str(array.dtype) for array in (features, scale, shift)]
        if dtypes != ["int32", "float32", "float32"]:
            raise InvalidArgument(
                f"features, scale and shift are {', '.join(dtypes)}:"
                " give int32, float32 and float32"
            )
        if not scale.shape == shift.shape == features.shape == (features.size,):
            raise InvalidArgument(
                f"scale {scale.shape} and shift {shift.shape} need one number for each of the"
                f" {features.size} features that are read"
            )
        if features.size and not 0 <= features.min() <= features.max() < all_features:
            raise InvalidArgument(f"a feature that is read is not one of the {all_features}")
        self.arrays = self.Arrays(
            features=np.ascontiguousarray(features),
            scale=np.ascontiguousarray(scale),
            shift=np.ascontiguousarray(shift),
        )
        self.size = features.size
        self.all_features = all_features

    @classmethod
    def of_all(cls, features: int) -> Reading:
        """All features, neither scaled nor shifted."""
        every = np.arange(features, dtype=np.int32)
        return cls(every, np.ones(features, np.float32), np.zeros(features, np.float32), features)


def _check(layers: Sequence[ChainLayer]) -> None:
    if not layers:
        raise InvalidArgument("a chain has 0 layers: give at least one")
    for number, (matrix, bias, _) in enumerate(layers):
        units = layers[number - 1].matrix.rows if number else matrix.features
        if matrix.features != units:
            raise InvalidArgument(
                f"layer {number} of a chain reads {matrix.features} features, but the layer before"
                f" has {units} units: the two must be equal"
            )
        if bias.dtype != np.float32 or bias.shape != (matrix.rows,):
            raise InvalidArgument(
                f"bias of layer {number} is {bias.dtype} {bias.shape}:"
                f" give float32 ({matrix.rows},), one for each unit"
            )


def _places(matrices: Sequence[CSRMatrix]) -> list[Places]:
    places, value, offset, bias, block = [], 0, 0, 0, 0
    for matrix in matrices:
        blocks = matrix.blocks.size - 1
        places.append(Places(matrix.rows, matrix.features, value, offset, bias, block, blocks))
        value += matrix.nonzero
        offset += matrix.rows + 1
        bias += matrix.rows
        block += blocks + 1
    return places
