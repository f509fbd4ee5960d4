"""Tiles: the layout in which many samples meet a sparse matrix.

``(tiles, features, width)``: a tile holds the activations of `width` samples, those of one feature
side by side, so that every weight meets that many neighbouring floats. The widths are 16, 32 and
64: one, two and four AVX-512 registers; wider tiles would not leave a sum for every sample in a
register. What the last tile holds beyond the last sample is zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.compilation import compiled, kernels_can_run, torch_threads

Float32Array = NDArray[np.float32]

WIDTHS = (16, 32, 64)

SMALLEST_NORMAL = np.float32(np.finfo(np.float32).tiny)
_ZERO = np.float32(0)

# Features moved at a time: one cache line of float32.
_STRIP = 16


def width_for(samples: int) -> int:
    """The narrowest width that holds so many samples; the widest where none does."""
    return next((width for width in WIDTHS if width >= samples), WIDTHS[-1])


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


def to_tiles_plain(
    rows: NDArray[Any],
    features: NDArray[np.int32],
    scale: Float32Array,
    shift: Float32Array,
    width: int,
) -> Float32Array:
    """Plain twin of `to_tiles`."""
    count = -(-len(rows) // width)
    tiles = np.zeros((count * width, features.size), np.float32)
    tiles[: len(rows)] = choose(rows, features, scale, shift)
    return np.ascontiguousarray(tiles.reshape(count, width, features.size).transpose(0, 2, 1))


def to_tiles(
    rows: NDArray[Any],
    features: NDArray[np.int32],
    scale: Float32Array,
    shift: Float32Array,
    width: int,
) -> Float32Array:
    """What `choose` gives, as tiles.

    Args:
        rows: uint8 or float32, any strides.
        features: int32 (chosen,), each in [0, all features).
        scale, shift: float32 (chosen,).
        width: one of `WIDTHS`.

    Returns: float32 (tiles, chosen, width).
    """
    if rows.ndim != 2 or rows.dtype not in (np.uint8, np.float32) or width not in WIDTHS:
        raise InvalidArgument(
            f"rows are {rows.dtype} {rows.shape} and width is {width}: give uint8 or float32"
            f" (samples, features) and a width of {WIDTHS}"
        )
    if features.size and not 0 <= features.min() <= features.max() < rows.shape[1]:
        raise InvalidArgument(f"a chosen feature is not one of the {rows.shape[1]} of the rows")
    if not scale.shape == shift.shape == features.shape == (features.size,):
        raise InvalidArgument(
            f"scale {scale.shape} and shift {shift.shape} need one number for each of the"
            f" {features.size} chosen features"
        )
    if not kernels_can_run():
        return to_tiles_plain(rows, features, scale, shift, width)
    tiles = np.empty((-(-len(rows) // width), features.size, width), np.float32)
    with torch_threads(tiles.size):
        _to_tiles(np.ascontiguousarray(rows), features, scale, shift, tiles)
    return tiles


@compiled
def _to_tiles(
    rows: NDArray[Any],
    features: NDArray[np.int32],
    scale: Float32Array,
    shift: Float32Array,
    tiles: Float32Array,
) -> None:
    count, chosen, width = tiles.shape
    strips = -(-chosen // _STRIP)
    for item in prange(count * strips):
        number, first = item // strips, item % strips * _STRIP
        last = min(first + _STRIP, chosen)
        sample = number * width
        filled = min(width, rows.shape[0] - sample)
        for lane in range(filled):
            for feature in range(first, last):
                value = np.float32(rows[sample + lane, np.uint32(features[feature])])
                value = value * scale[feature] + shift[feature]
                tiles[number, feature, lane] = _ZERO if abs(value) < SMALLEST_NORMAL else value
        for feature in range(first, last):
            tiles[number, feature, filled:] = _ZERO


def from_tiles_plain(tiles: Float32Array, samples: int) -> Float32Array:
    """Plain twin of `from_tiles`."""
    count, features, width = tiles.shape
    return np.ascontiguousarray(tiles.transpose(0, 2, 1).reshape(count * width, features)[:samples])


def from_tiles(tiles: Float32Array, samples: int) -> Float32Array:
    """The first `samples` samples as rows: (tiles, features, width) -> (samples, features)."""
    count, features, width = tiles.shape
    if not 0 <= samples <= count * width:
        raise InvalidArgument(f"{count} tiles of width {width} do not hold {samples} samples")
    if not kernels_can_run():
        return from_tiles_plain(tiles, samples)
    rows = np.empty((samples, features), np.float32)
    with torch_threads(rows.size):
        _from_tiles(np.ascontiguousarray(tiles), rows)
    return rows


@compiled
def _from_tiles(tiles: Float32Array, rows: Float32Array) -> None:
    count, features, width = tiles.shape
    strips = -(-features // _STRIP)
    for item in prange(count * strips):
        number, first = item // strips, item % strips * _STRIP
        last = min(first + _STRIP, features)
        sample = number * width
        for lane in range(min(width, rows.shape[0] - sample)):
            for feature in range(first, last):
                rows[sample + lane, feature] = tiles[number, feature, lane]
