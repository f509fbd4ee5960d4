"""Columns in an order along their geometry."""

from __future__ import annotations

import numpy as np

from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.graph import Integers


def column_order(geometry: Geometry) -> Integers:
    """The columns, int64 (d,), in the order that their geometry gives them.

    Along a line or ring, row by row of a grid, along the first axis of another map. Those of one
    position stand side by side, by channel; positions that lie nowhere come last, by number.
    """
    place = geometry.coordinates[geometry.position_of]
    nowhere = ~geometry.placed()[geometry.position_of]
    place[nowhere] = 0
    # The last key counts first.
    return np.lexsort((geometry.channel_of, geometry.position_of, *place.T[::-1], nowhere))
