"""Test and training accuracy of several methods against what varies, a panel each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import NullLocator

from scratchconv.experiments import figures
from scratchconv.lab import Picture


@dataclass(frozen=True)
class Curve:
    """Accuracies in percent of one method: at every place, one a seed."""

    label: str
    places: Sequence[float]
    test: Sequence[Sequence[float]]
    train: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Panel:
    """Curves over one axis, with the published points of its first method, if there are any."""

    x: str
    curves: Sequence[Curve]
    ticks: Sequence[tuple[float, str]]
    published: Sequence[tuple[float, float]] = ()
    published_label: str = ""


def curves_figure(panels: Sequence[Panel], *, title: str, name: str, description: str) -> Picture:
    """Solid: test accuracy, bars are the seeds' deviation. Dotted: training accuracy."""
    figure, all_axes = figures.new_figure(8.2, 3.7, columns=len(panels))
    for axes, panel in zip(all_axes, panels, strict=True):
        for index, curve in enumerate(panel.curves):
            figures.draw_ours(
                axes, curve.places, curve.test, index=index, label=f"{curve.label}: test"
            )
            axes.plot(
                curve.places,
                [sum(values) / len(values) for values in curve.train],
                color=figures.colour(index),
                linestyle=":",
                linewidth=1.3,
                marker=figures.marker(index),
                markersize=3,
                markerfacecolor="white",
                label=f"{curve.label}: training",
            )
        if panel.published:
            places, values = zip(*panel.published, strict=True)
            figures.draw_published(axes, places, values, index=0, label=panel.published_label)
        axes.set_xscale("log")
        axes.set_xticks([place for place, _ in panel.ticks], [said for _, said in panel.ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        figures.label_axes(axes, x=panel.x, y="accuracy (%)")
    figures.legend_below(figure, columns=3)
    return Picture.of(
        figure,
        title=title,
        name=name,
        description=description,
        note="Points are means over seeds, bars their standard deviation where there are several.",
    )
