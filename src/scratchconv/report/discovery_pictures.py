"""Rows as given and rearranged, receptive fields and shared filters: pictures for the page."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.graph import Floats, Floats32
from scratchconv.discovery.neighbourhoods import arranged_columns, channel_count, is_regular
from scratchconv.discovery.sharing import Sharing
from scratchconv.report.discovery_map import Map, weight_map
from scratchconv.report.filters import Picture, colours, mosaic, png

_MOST_EXAMPLES = 6
_MOST_UNITS = 25
_MOST_ROWS = 48
_MOST_FILTERS = 16
_MOST_DOTS = 6000
_WIDTH = 420
_TRACE = (300.0, 90.0)


@dataclass(frozen=True)
class Shown:
    """A picture as a data URI, or a trace as an SVG path of 300 × 90, with what it shows."""

    image: str | None
    trace: str | None
    description: str


@dataclass(frozen=True)
class Example:
    """One row of the table, before and after."""

    before: Shown
    after: Shown


def examples(rows: NDArray[Any], geometry: Geometry) -> tuple[Example, ...]:
    """Up to six rows (m, d) as given and on their line, ring or grid; none for other geometries.

    Values of all columns are on one scale: standardise columns that are not alike before.
    """
    if not is_regular(geometry):
        return ()
    places = arranged_columns(geometry)
    found = []
    for number, row in enumerate(np.asarray(rows, np.float64)[:_MOST_EXAMPLES], start=1):
        low, high = np.quantile(row, [0.005, 0.995])
        scaled = np.clip((row - low) / max(high - low, 1e-30), 0, 1)
        before, after = f"Row {number} as given", f"Row {number} rearranged"
        if geometry.kind == "grid":
            side = math.ceil(math.sqrt(len(row)))
            pair = _grey(_folded(scaled, side), before), _placed(scaled, places, after)
        elif len(places) == 1:
            kept = places[0][places[0] >= 0]
            pair = _trace(scaled, before), _trace(scaled[kept], after)
        else:
            side = math.ceil(len(row) / len(places))
            laid = np.where(places >= 0, scaled[places], np.nan)
            pair = _grey(_folded(scaled, side), before), _grey(laid, after)
        found.append(Example(*pair))
    return tuple(found)


def fields(weights: Floats32, geometry: Geometry) -> Shown | None:
    """The strongest units (units, d) on the line, ring or grid, or in the order given for "none".

    None without units, and for maps, which `field_maps` draws.
    """
    if not len(weights) or geometry.kind not in ("line", "ring", "grid", "none"):
        return None
    if geometry.kind == "none" or not is_regular(geometry):
        places = np.arange(weights.shape[1])[None]
    else:
        places = arranged_columns(geometry)
    padded = np.pad(weights, ((0, 0), (0, 1)))
    laid = torch.from_numpy(padded[:, np.where(places < 0, weights.shape[1], places)])
    if geometry.kind == "grid":
        tiles = [colours(field) for field in laid[:_MOST_UNITS].float()]
        return _tiled(tiles, f"The {len(tiles)} strongest units, each on the grid")
    rows = laid[:_MOST_ROWS].float()
    scaled = rows / rows.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)
    strongest = scaled.abs().argmax(dim=1, keepdim=True)
    picture = colours(scaled.gather(1, strongest).transpose(0, 1))
    return _enlarged(picture, f"The {len(rows)} strongest units, one a row, places from left")


def field_maps(weights: Floats32, geometry: Geometry, names: Sequence[str]) -> tuple[Map, ...]:
    """The strongest units on a map of another kind: as many as the page can hold, nine at most."""
    if geometry.kind in ("line", "ring", "grid", "none"):
        return ()
    most = min(9, _MOST_DOTS // max(geometry.positions, 1))
    drawn = [weight_map(geometry, unit, names) for unit in weights[:most]]
    return tuple(one for one in drawn if one is not None)


def shared_filters(sharing: Sharing, geometry: Geometry) -> Shown | None:
    """The filters that the units are shifted copies of, on a line, ring or grid."""
    found = sharing.filters
    if found is None or not is_regular(geometry) or not len(found.filters):
        return None
    kernels = torch.from_numpy(found.filters[:_MOST_FILTERS]).float()
    channels = channel_count(geometry)
    if geometry.kind == "grid":
        kernels = kernels.view(-1, channels, found.window, found.window)
    else:
        kernels = kernels.view(-1, 1, channels, found.window)
    tiles = [colours(kernel) for kernel in kernels]
    extent = " × ".join([str(found.window)] * geometry.dimension)
    return _tiled(tiles, f"{len(tiles)} filters of {extent} positions")


def _folded(values: Floats, side: int) -> Floats:
    rows = math.ceil(len(values) / side)
    return np.pad(values, (0, rows * side - len(values)), constant_values=np.nan).reshape(
        rows, side
    )


def _placed(values: Floats, places: NDArray[np.int64], description: str) -> Shown:
    """Three columns at a position as colours, others as the mean in grey."""
    laid = np.where(places >= 0, values[places], np.nan)
    if len(laid) != 3:
        held = (places >= 0).sum(axis=0)
        total = np.nansum(laid, axis=0)
        return _grey(np.where(held > 0, total / np.maximum(held, 1), np.nan), description)
    return _bytes(laid.transpose(1, 2, 0), description)


def _grey(values: Floats, description: str) -> Shown:
    return _bytes(np.repeat(values[..., None], 3, axis=2), description)


def _bytes(values: Floats, description: str) -> Shown:
    """(h, w, 3) in [0, 1]; transparent where there is nothing."""
    filled = np.isfinite(values)
    picture = np.full((*values.shape[:2], 4), 255, np.uint8)
    picture[..., :3] = np.rint(255 * np.where(filled, values, 0)).astype(np.uint8)
    picture[..., 3] = 255 * filled.any(axis=2)
    return _enlarged(picture, description)


def _enlarged(picture: Picture, description: str) -> Shown:
    """As large as a figure, by whole factors, so that browsers need not smooth it."""
    across = max(1, round(_WIDTH / picture.shape[1]))
    down = max(1, min(across, round(_WIDTH / picture.shape[0]), 12))
    if picture.shape[0] < picture.shape[1] / 8:
        down = max(down, min(24, math.ceil(picture.shape[1] * across / 8 / picture.shape[0])))
    return _shown(picture.repeat(down, axis=0).repeat(across, axis=1), description)


def _tiled(tiles: Sequence[Picture], description: str) -> Shown:
    across = math.ceil(math.sqrt(len(tiles)))
    width = tiles[0].shape[1]
    scale = max(1, round(_WIDTH / (width * across)))
    gap = max(2, width * scale // 12)
    return _shown(mosaic(tiles, across, scale=scale, gap=gap), description)


def _shown(picture: Picture, description: str) -> Shown:
    encoded = base64.b64encode(png(picture)).decode("ascii")
    return Shown(f"data:image/png;base64,{encoded}", None, description)


def _trace(values: Floats, description: str) -> Shown:
    width, height = _TRACE
    x = np.linspace(2, width - 2, len(values))
    y = height - 4 - (height - 8) * values
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return Shown(None, points, description)
