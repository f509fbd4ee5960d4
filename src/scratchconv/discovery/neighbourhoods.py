"""What lies around every position of a geometry: columns in windows, and on a regular array."""

from __future__ import annotations

import math

import numpy as np

from scratchconv.analysis.prefix_code import choice_width, count_width
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.graph import Integers
from scratchconv.errors import InvalidArgument


def channel_count(geometry: Geometry) -> int:
    """The columns that a position can hold."""
    return int(geometry.channel_of.max(initial=0)) + 1


def is_regular(geometry: Geometry) -> bool:
    """Whether positions have places on a line, ring or grid."""
    return geometry.shape is not None


def arranged_columns(geometry: Geometry) -> Integers:
    """The column at each channel and place of a line, ring or grid: (channels, *shape).

    −1 where there is none: nothing lies at that place, or its position lacks that channel. Columns
    without a place are nowhere in it. Raises InvalidArgument for other geometries.
    """
    if geometry.shape is None:
        raise InvalidArgument(
            f"a geometry of kind {geometry.kind!r} has no regular places: only line, ring and grid"
        )
    table = np.full((channel_count(geometry), *geometry.shape), -1, np.int64)
    columns = np.flatnonzero(geometry.placed()[geometry.position_of])
    places = geometry.coordinates[geometry.position_of[columns]].astype(np.int64)
    slots = (geometry.channel_of[columns], *places.T)
    table[slots] = columns
    return table


def neighbourhoods(geometry: Geometry, window: int) -> Integers:
    """The columns that a window sees around each position: int64 (positions, size), −1 for none.

    On a line, ring or grid: windows of `window` places along each axis, one row for each place in
    row-major order, size = channels · window^dimension, channels first as in a kernel of `Conv2d`.
    Windows go round a ring, and see nothing beyond the ends of the others.

    Of "other" geometries: the `window` nearest positions, itself included, nearest first, whose
    order is all that can be shared; one row for each position that is placed, channels first.

    Raises InvalidArgument: a window that is even or below 1, wider than the geometry, or no
    geometry at all.
    """
    if window < 1 or window % 2 == 0:
        raise InvalidArgument(f"window is {window}: give an odd number, such as 3 or 5")
    if geometry.kind == "none":
        raise InvalidArgument("columns without a geometry have no neighbourhoods")
    if not is_regular(geometry):
        return _nearest(geometry, window)
    places = arranged_columns(geometry)
    shape = places.shape[1:]
    if geometry.kind == "ring" and window > shape[0]:
        raise InvalidArgument(f"window is {window}: a ring of {shape[0]} has no such neighbourhood")
    half = window // 2
    around = [(0, 0)] + [(half, half)] * len(shape)
    if geometry.kind == "ring":
        padded = np.pad(places, around, mode="wrap")
    else:
        padded = np.pad(places, around, constant_values=-1)
    axes = tuple(range(1, places.ndim))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (window,) * len(shape), axis=axes)
    # (channels, *shape, *window) → (*shape, channels, *window)
    moved = np.moveaxis(seen, 0, len(shape))
    return np.ascontiguousarray(moved).reshape(math.prod(shape), -1)


def _nearest(geometry: Geometry, window: int) -> Integers:
    placed = np.flatnonzero(geometry.placed())
    if window > len(placed):
        raise InvalidArgument(
            f"window is {window}, but only {len(placed)} positions are placed: use a smaller one"
        )
    apart = geometry.distances()[np.ix_(placed, placed)]
    np.fill_diagonal(apart, -1)
    near = placed[np.argsort(apart, axis=1, kind="stable")[:, :window]]
    members = np.full((geometry.positions, channel_count(geometry)), -1, np.int64)
    columns = np.arange(len(geometry.position_of))
    members[geometry.position_of, geometry.channel_of] = columns
    return np.ascontiguousarray(members[near].transpose(0, 2, 1)).reshape(len(placed), -1)


def geometry_bits(geometry: Geometry, window: int) -> int:
    """The bits that tell which columns the windows see.

    Of a line, ring or grid: its kind, its extents, and which place and channel each column has, the
    first of all that are left, so log₂ (slots)! / (slots − columns)!, the columns without a place
    named first. Of "other": the nearest positions of each, one by one.
    """
    d = len(geometry.position_of)
    placed = int(geometry.placed()[geometry.position_of].sum())
    left_out = count_width(d) + _log2_choose(d, placed)
    if is_regular(geometry):
        slots = arranged_columns(geometry).size
        arranged = (math.lgamma(slots + 1) - math.lgamma(slots - placed + 1)) / math.log(2)
        extents = (1 + geometry.dimension) * count_width(d)
        return 2 + math.ceil(left_out + arranged) + extents
    m = int(geometry.placed().sum())
    columns = placed * (choice_width(m) + choice_width(channel_count(geometry)))
    return 2 + math.ceil(left_out) + 2 * count_width(d) + columns + m * window * choice_width(m)


def _log2_choose(n: int, k: int) -> float:
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)
