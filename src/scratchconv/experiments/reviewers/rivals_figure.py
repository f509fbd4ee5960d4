"""Pictures of the rivals: accuracy against the operations of training, and against density."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from matplotlib.ticker import FuncFormatter, NullFormatter

from scratchconv.experiments import figures
from scratchconv.lab import Picture

Point = tuple[float, Sequence[float]]
"""A place, and the test accuracies in percent there, one a seed."""


def accuracy_and_operations(points: Mapping[str, Point], *, screened: float) -> Picture:
    """One point a method, against the FLOPs of its training.

    From the first, β-LASSO's, a line goes to the FLOPs it has left when `screened`.
    """
    figure, (axes,) = figures.new_figure(8.2, 4.2)
    for index, (label, (place, accuracies)) in enumerate(points.items()):
        mean = statistics.mean(accuracies)
        if index == 0:
            axes.plot([screened, place], [mean, mean], color=figures.colour(0), linewidth=1.2)
        # Past the seventh, colours come again: with other markers, and hollow.
        again = index >= 7
        axes.errorbar(
            [place],
            [mean],
            yerr=[statistics.stdev(accuracies)] if len(accuracies) > 1 else None,
            color=figures.colour(index),
            marker=figures.marker(index + 3 * again),
            markerfacecolor="white" if again else figures.colour(index),
            markersize=6.5,
            capsize=2.5,
            linestyle="",
            label=label,
        )
    axes.set_xscale("log")
    axes.tick_params(which="minor", labelsize=8)
    figures.label_axes(axes, x="FLOPs of the training", y="test accuracy (%)")
    figures.legend_below(figure, columns=4)
    return Picture.of(
        figure,
        title="Accuracy and operations of the training",
        name="rivals_operations",
        description="Test accuracy of every method against the operations of its training",
        note="Bars are the sample deviation over seeds. β-LASSO's line ends where no weight"
        " gradient of a zero is computed. Dense SGD keeps all weights, the others equally few.",
    )


def accuracy_by_density(
    curves: Mapping[str, Sequence[tuple[float, float]]], ours: Point, dense: Sequence[float]
) -> Picture:
    """What the methods that are cut lose with every weight; β-LASSO's point beside them."""
    figure, (axes,) = figures.new_figure(8.2, 3.8)
    for index, (label, curve) in enumerate(curves.items(), start=1):
        densities, accuracies = zip(*curve, strict=True)
        axes.plot(
            [100 * density for density in densities],
            accuracies,
            color=figures.colour(index),
            linewidth=1.6,
            label=f"{label}, cut",
        )
    figures.draw_ours(axes, [100 * ours[0]], [ours[1]], index=0, label="β-LASSO, β = 50, not cut")
    axes.axhline(
        statistics.mean(dense),
        color=figures.MUTED,
        linewidth=1.0,
        linestyle=":",
        label="SGD, dense",
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    figures.label_axes(axes, x="weights left (%)", y="test accuracy (%)")
    figures.legend_below(figure, columns=3)
    return Picture.of(
        figure,
        title="Accuracy by the density that networks are cut to",
        name="rivals_density",
        description="Test accuracy of networks whose smallest weights are zeroed, by weights left",
        note="Mean over seeds; the settings of a method are those that are best at the density of"
        " the table.",
    )
