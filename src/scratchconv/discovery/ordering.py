"""Columns in an order along their geometry."""

from __future__ import annotations

import numpy as np

from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.graph import Integers


def column_order(geometry: Geometry) -> Integers:
    """The columns, int64 (d,), in the order that their geometry gives them.

    Along a line or ring, row by row of a grid, along the first axis of another map. Those of one
    position stand side by side, by channel; those that lie nowhere come last, in the order they
    had. Without a geometry all stay as they are.
    """
    d = len(geometry.position_of)
    if geometry.dimension == 0:
        return np.arange(d)
    place = geometry.coordinates[geometry.position_of]
    nowhere = ~geometry.placed()[geometry.position_of]
    place[nowhere] = 0
    position = np.where(nowhere, 0, geometry.position_of)
    channel = np.where(nowhere, 0, geometry.channel_of)
    # The last key counts first.
    return np.lexsort((np.arange(d), channel, position, *place.T[::-1], nowhere))
