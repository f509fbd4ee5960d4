"""The filters of a few runs as one PNG file, for a README or a paper."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from scratchconv.errors import InvalidArgument
from scratchconv.report import wording
from scratchconv.report.filters import Panel, load_filters, mosaic, panel
from scratchconv.report.output import check_writable, write_whole
from scratchconv.report.record import Record, read

_HEAD = 0.5  # inches above the filters for two lines of text
_INK, _MUTED = "#1b2430", "#5b6675"


def filters_figure(
    runs: Sequence[Path],
    out_png: Path,
    *,
    titles: Sequence[str] | None = None,
    units: int = 25,
    width: int = 1680,
    overwrite: bool = False,
) -> Path:
    """Draw the first-layer filters of `runs`, one panel each, and return `out_png`.

    Units are chosen as in Neyshabur 2020, Fig. 4 (see `analysis.select_filters`), `units` of them
    a panel; pixels shuffled for training are put back. Every filter has its own symmetric colour
    scale, and zero is mid-grey (three channels) or white. `titles` replaces the panels' names;
    `width` is in pixels (twice what a README shows is sharp everywhere). Opaque white, so that it
    can be read on dark pages too.

    Raises InvalidArgument for no runs, for titles that are not one a run, or for an existing file
    without `overwrite`; RunDirectoryError where a run has no checkpoint that can be drawn.
    """
    if not runs:
        raise InvalidArgument("no runs to draw: give at least one run directory")
    if titles is not None and len(titles) != len(runs):
        raise InvalidArgument(f"{len(titles)} titles for {len(runs)} runs: give one a run, or none")
    if units < 1:
        raise InvalidArgument(f"units={units}: must be at least 1")
    out_png = Path(out_png)
    check_writable(out_png, overwrite=overwrite)
    records = read(runs)
    panels = [panel(load_filters(record), units) for record in records]
    names = titles or [record.label for record in records]
    figure = _compose(records, panels, names, width)
    drawn = BytesIO()
    figure.savefig(drawn, format="png", facecolor="white")
    write_whole(out_png, drawn.getvalue())
    return out_png


def _compose(
    records: Sequence[Record], panels: Sequence[Panel], names: Sequence[str], width: int
) -> Figure:
    inches = 8.4  # a README's width at 100 pixels an inch: fonts keep their size on the page
    each = inches / len(panels)
    size = float(np.clip(3.4 * each, 6.0, 11.0))
    with rc_context({"text.parse_math": False, "font.family": "sans-serif"}):
        figure = Figure(figsize=(inches, each + _HEAD), dpi=width / inches)
        all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
        figure.subplots_adjust(
            left=0.012, right=0.988, bottom=0.012, top=1 - _HEAD / (each + _HEAD), wspace=0.06
        )
        for axes, record, drawn, name in zip(all_axes, records, panels, names, strict=True):
            _, tile_width, _ = drawn.tiles[0].shape
            scale = max(1, round(width / len(panels) / (tile_width * drawn.columns)))
            gap = max(1, tile_width * scale // 12)
            axes.imshow(mosaic(drawn.tiles, drawn.columns, scale=scale, gap=gap))
            axes.set_axis_off()
            axes.set_anchor("N")
            axes.annotate(
                name, (0, 1), xytext=(0, 19), **_ABOVE, size=size + 1, weight="bold", color=_INK
            )
            axes.annotate(
                _subtitle(record), (0, 1), xytext=(0, 6), **_ABOVE, size=size - 1, color=_MUTED
            )
    return figure


_ABOVE = {"xycoords": "axes fraction", "textcoords": "offset points", "annotation_clip": False}


def _subtitle(record: Record) -> str:
    """Density and spread, or what the architecture gives."""
    parts = []
    layer = record.first_layer
    if record.connectivity == "convolution":
        parts.append("kernels, shared by construction")
    elif record.connectivity == "local":
        parts.append("local by construction")
    elif layer is not None and layer.density is not None:
        parts.append(f"{wording.percent(layer.density)} of weights")
    spread = record.latest("spread")
    if spread is not None and record.connectivity == "full":
        parts.append(f"spread {wording.fixed(spread)}")
    return " · ".join(parts)
