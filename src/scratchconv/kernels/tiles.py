"""Tiles: the layout in which many samples meet a sparse matrix.

A tile holds the activations of `width` samples, those of one feature side by side, so that every
weight meets that many neighbouring floats: float32 (features · width,), sample `lane` of feature i
at ``i · width + lane``. What the last tile holds beyond the last sample is zero. One sample alone
is a vector, a tile of width 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scratchconv.kernels.compilation import compiled_inline

Float32Array = NDArray[np.float32]

# The widest fills four AVX-512 registers: sums for more samples would not all stay in registers.
# Narrow ones are for a few samples, which leave most of a wide tile empty, and it is read all the
# same.
WIDTHS = (4, 8, 16, 32, 64)

SMALLEST_NORMAL = np.float32(np.finfo(np.float32).tiny)
_ZERO = np.float32(0)

# Features moved at a time: one cache line of float32.
_STRIP = 16


def choose(
    rows: NDArray[Any], features: NDArray[np.int32], scale: Float32Array, shift: Float32Array
) -> Float32Array:
    """Chosen features of ``rows`` (samples, all features), scaled: (samples, chosen).

    Column i is ``rows[:, features[i]] · scale[i] + shift[i]``, rounded after each of the two; a
    subnormal result is flushed to zero.
    """
    chosen: Float32Array = rows[:, features].astype(np.float32) * scale + shift
    chosen[np.abs(chosen) < SMALLEST_NORMAL] = 0
    return chosen


@compiled_inline
def tile_from_rows(
    rows: NDArray[Any],
    reading: tuple[NDArray[np.int32], Float32Array, Float32Array],
    sample: int,
    width: int,
    tile: Float32Array,
) -> None:
    """What `choose` gives for the samples from number `sample` on; nothing is checked.

    `rows` are uint8 or float32; `reading` is the features to choose, their scale and their shift.
    """
    features, scale, shift = reading
    if width == 1:
        for i in range(features.size):
            number = np.float32(rows[sample, np.uint32(features[i])]) * scale[i] + shift[i]
            tile[i] = _ZERO if abs(number) < SMALLEST_NORMAL else number
        return
    filled = min(width, rows.shape[0] - sample)
    for first in range(0, features.size, _STRIP):
        last = min(first + _STRIP, features.size)
        for lane in range(filled):
            for i in range(first, last):
                number = np.float32(rows[sample + lane, np.uint32(features[i])])
                number = number * scale[i] + shift[i]
                tile[i * width + lane] = _ZERO if abs(number) < SMALLEST_NORMAL else number
        for i in range(first, last):
            for lane in range(filled, width):
                tile[i * width + lane] = _ZERO


@compiled_inline
def rows_from_tile(tile: Float32Array, sample: int, width: int, rows: Float32Array) -> None:
    """A tile as ``rows`` (samples, features) from number `sample` on; nothing is checked."""
    for lane in range(min(width, rows.shape[0] - sample)):
        for feature in range(rows.shape[1]):
            rows[sample + lane, feature] = tile[feature * width + lane]
