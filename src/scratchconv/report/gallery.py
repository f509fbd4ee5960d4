"""The filters of several runs side by side, within what a page may weigh."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from scratchconv.errors import ScratchconvError
from scratchconv.report import wording
from scratchconv.report.filters import load_filters, mosaic, panel, png
from scratchconv.report.record import DENSE, Record

# Pictures of dense filters are noise, which no PNG compresses: 3 bytes a pixel, 4 in base64, so
# this many pixels are at most 1.6 MB of the page.
_PIXELS = 400_000
_MOST_UNITS = 25
_FEWEST_UNITS = 4
_MOST_PANELS = 12
_WIDTH = 560  # enlarge to about so many pixels, so that browsers need not smooth small pictures


@dataclass(frozen=True)
class Exhibit:
    """One run's filters for the page; `image` is a data URI, or None with the reason why."""

    label: str
    image: str | None
    caption: str
    description: str


def gallery(records: Sequence[Record]) -> tuple[list[Exhibit], str]:
    """One exhibit a run, dense first, convolution last; and what was left out, in words."""
    ordered = sorted(records, key=_place)
    shown = _varied(ordered)[:_MOST_PANELS]
    exhibits = [_exhibit(record, _units(record, len(shown))) for record in shown]
    left_out = len(records) - len(shown)
    note = f"{wording.plural(left_out, 'more run')} not drawn." if left_out else ""
    return exhibits, note


def _place(record: Record) -> int:
    """Dense, sparse, local, convolution."""
    if record.connectivity == "full":
        layer = record.first_layer
        return 1 if layer is not None and layer.density is not None and layer.density < DENSE else 0
    return 2 if record.connectivity == "local" else 3


def _varied(ordered: list[Record]) -> list[Record]:
    """Where not all fit, the first of every kind before a second of any."""
    if len(ordered) <= _MOST_PANELS:
        return ordered
    rank = {}
    for index, record in enumerate(ordered):
        rank[index] = sum(_place(other) == _place(record) for other in ordered[:index])
    kept = sorted(sorted(rank, key=rank.__getitem__)[:_MOST_PANELS])
    return [ordered[index] for index in kept]


def _units(record: Record, panels: int) -> int:
    """How many units' pictures fit, a square number of them."""
    if record.image is None:
        return _FEWEST_UNITS
    fitting = _PIXELS // (panels * record.image[1] * record.image[2])
    side = int(min(max(fitting, _FEWEST_UNITS), _MOST_UNITS) ** 0.5)
    return side * side


def _exhibit(record: Record, count: int) -> Exhibit:
    try:
        drawn = panel(load_filters(record), count)
    except (ScratchconvError, OSError) as error:
        return Exhibit(record.label, None, f"Filters unavailable: {error}.", "")
    height, width, _ = drawn.tiles[0].shape
    scale = max(1, round(_WIDTH / (width * drawn.columns)))
    picture = mosaic(drawn.tiles, drawn.columns, scale=scale, gap=max(1, width * scale // 12))
    encoded = base64.b64encode(png(picture)).decode("ascii")
    return Exhibit(
        record.label,
        f"data:image/png;base64,{encoded}",
        f"{drawn.caption[0].upper()}{drawn.caption[1:]}.",
        f"First-layer filters of {record.label}: {drawn.caption}, {height}×{width} each.",
    )
