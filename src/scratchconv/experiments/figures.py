"""The one look of all experiments' figures: what is ours is solid, what was published is dashed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

# Okabe and Ito's colours, which the colour-blind can tell apart; yellow is too faint on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
INK, MUTED = "#1b2430", "#5b6675"


def colour(index: int) -> str:
    """The colour of series number `index`, from 0; after seven they come again."""
    return _COLOURS[index % len(_COLOURS)]


def marker(index: int) -> str:
    """The marker of series number `index`, so that colour is not all that tells them apart."""
    return _MARKERS[index % len(_MARKERS)]


def new_figure(
    width: float, height: float, columns: int = 1, rows: int = 1, *, space: float = 0.02
) -> tuple[Figure, list[Axes]]:
    """A figure of that size in inches, and its axes row by row; a page is some 8 inches wide.

    `space` between the panels is a share of their size.
    """
    layout = ConstrainedLayoutEngine(wspace=space, hspace=space)
    figure = Figure(figsize=(width, height), layout=layout)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for each in axes:
        each.grid(visible=True, color="#e3e7ec", linewidth=0.6)
        each.set_axisbelow(True)
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["left", "bottom"]].set_color(MUTED)
        each.tick_params(labelsize=8, colors=MUTED, labelcolor=INK)
        each.tick_params(which="minor", labelsize=7, colors=MUTED, labelcolor=INK)
    return figure, axes


def label_axes(axes: Axes, *, x: str = "", y: str = "", title: str = "") -> None:
    """Name the axes, with units where there are any, and the panel."""
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.set_title(title, fontsize=10, color=INK, loc="left")


def two_decades(axes: Axes) -> None:
    """Let a logarithmic axis of counts show a factor of 100 at the least.

    A small loss then looks small, and a curve that stays at the top has room.
    """
    lowest, highest = axes.get_ylim()
    axes.set_ylim(min(lowest, highest / 100), 1.5 * highest)


def draw_ours(
    axes: Axes, x: Sequence[float], seeds: Sequence[Sequence[float]], *, index: int, label: str
) -> None:
    """Solid: the mean at every x of what the seeds gave; bars are their sample deviation.

    A place without any value is a gap.
    """
    means = [statistics.mean(values) if values else float("nan") for values in seeds]
    bars = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in seeds]
    axes.plot(
        x,
        means,
        color=colour(index),
        linewidth=1.6,
        marker=marker(index),
        markersize=4.5,
        label=label,
    )
    if any(bars):
        axes.errorbar(x, means, bars, fmt="none", ecolor=colour(index), elinewidth=1, capsize=2.5)


def draw_published(
    axes: Axes, x: Sequence[float], values: Sequence[float], *, index: int, label: str = ""
) -> None:
    """Dashed, with hollow markers: as published."""
    axes.plot(
        x,
        values,
        color=colour(index),
        linestyle=(0, (4, 2.5)),
        linewidth=1.0,
        marker=marker(index),
        markersize=4.5,
        markerfacecolor="white",
        markeredgewidth=1.0,
        alpha=0.85,
        label=label or "_",
        zorder=1.8,
    )


def legend_below(figure: Figure, *, columns: int = 4) -> None:
    """One legend for all panels, below them, where it covers nothing."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if found:
        figure.legend(
            list(found.values()),
            list(found),
            loc="outside lower center",
            ncols=columns,
            fontsize=8,
            frameon=False,
            labelcolor=INK,
        )
