"""Figure 2, right: the fewest weights that fit the training data against the best test accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes

from scratchconv import published
from scratchconv.experiments.figures import colour, label_axes, legend_below, marker, new_figure
from scratchconv.lab import Picture, RunRecord, Table, augmentation
from scratchconv.lab.exhibits import MISSING
from scratchconv.report.wording import plural

NETWORKS = (("ResNet18", "resnet18"), ("D-CONV", "d-conv"), ("S-CONV", "s-conv"), ("3-FC", "3-fc"))


Curve = dict[float, list[RunRecord]]
"""Finished runs by the millions of weights asked for."""
Found = dict[str, dict[str, Curve]]
"""By dataset and network."""


def all_records(found: Found) -> list[RunRecord]:
    """Those of all curves."""
    return [
        record
        for by_model in found.values()
        for curve in by_model.values()
        for records in curve.values()
        for record in records
    ]


def weights_of(records: list[RunRecord], asked: float) -> float:
    """The weights that a network of this budget really has; `asked` where none finished."""
    if not records:
        return asked
    return sum(int(layer["size"]) for layer in records[0].result["layers"]) / 1e6


@dataclass(frozen=True)
class Fewest:
    """One network: the fewest weights that fit, and the best test accuracy.

    millions: None where no size fits.
    too_few: the largest size below those that fit; None where the smallest of all fits.
    """

    millions: float | None
    too_few: float | None
    best_test: float


def fewest(curve: Curve, threshold: float) -> Fewest | None:
    """Of one network: sizes count as fitting when their mean training accuracy is at least that.

    The best test accuracy is over all sizes, ours having hardly any beyond the first that fits.
    None where no run finished.
    """
    means = {
        weights_of(records, asked): [
            sum(record.accuracy(split) for record in records) / len(records)
            for split in ("train", "test")
        ]
        for asked, records in curve.items()
        if records
    }
    if not means:
        return None
    fits = min(
        (millions for millions, (train, _) in means.items() if train >= threshold), default=None
    )
    below = [millions for millions in means if fits is None or millions < fits]
    return Fewest(fits, max(below, default=None), max(test for _, test in means.values()))


def fewest_picture(found: Found, epochs: int) -> Picture:
    """Fewest weights that fit against best test accuracy."""
    theirs = published.load("neyshabur2020")["fig2_right"]
    changes = augmentation(all_records(found))
    figure, panels = new_figure(4.0 * len(found) + 0.4, 3.6, columns=len(found))
    for axes, (data, by_model) in zip(panels, found.items(), strict=True):
        threshold = theirs["training_accuracy_threshold_inferred"][data]
        for index, (network, model) in enumerate(NETWORKS):
            ours = fewest(by_model[model], threshold)
            if ours is not None and ours.millions is not None:
                _point(axes, ours.millions, ours.best_test, index, f"{network}, ours", hollow=False)
                if ours.too_few is not None:
                    axes.plot(
                        [ours.too_few, ours.millions],
                        [ours.best_test] * 2,
                        color=colour(index),
                        linewidth=1.2,
                    )
            point = theirs[data][model]
            _point(
                axes,
                point["min_params_millions"],
                point["max_test_acc"],
                index,
                f"{network}, the paper",
                hollow=True,
            )
        axes.set_xscale("log")
        label_axes(
            axes,
            x=f"fewest weights of {threshold} % training accuracy (millions)",
            y="best test accuracy (%)" if axes is panels[0] else "",
            title=data,
        )
    legend_below(figure, columns=min(4, 2 * len(found)))
    return Picture.of(
        figure,
        title="Fewest weights that fit, and the best test accuracy",
        name="figure2-right",
        description="Points: fewest weights against best test accuracy, four networks.",
        note=f"Filled: ours, {plural(epochs, 'epoch')}, the smallest of our sizes that fits; its"
        " line reaches to the next smaller one, which does not. Hollow: the paper, 400 epochs."
        " A network without a filled point fits at none of our sizes. The thresholds are inferred"
        " from the paper's two panels, which it does not state; its training images are augmented"
        f" by Fast AutoAugment, ours {f'by {changes}' if changes else 'are not'}.",
    )


def fewest_table(found: Found) -> Table:
    """The numbers of the right panel."""
    theirs = published.load("neyshabur2020")["fig2_right"]
    rows = []
    for data, by_model in found.items():
        threshold = theirs["training_accuracy_threshold_inferred"][data]
        for network, model in NETWORKS:
            ours, point = fewest(by_model[model], threshold), theirs[data][model]
            rows.append(
                (
                    network,
                    f"{data}, {threshold} %",
                    _between(ours),
                    f"{point['min_params_millions']:.3g} M",
                    MISSING if ours is None else f"{ours.best_test:.2f} %",
                    f"{point['max_test_acc']:g} %",
                )
            )
    return Table(
        "Fewest weights that fit",
        (
            "network",
            "training accuracy",
            "fewest: ours",
            "the paper",
            "best test: ours",
            "the paper",
        ),
        tuple(rows),
    )


def _between(found: Fewest | None) -> str:
    """Where the fewest weights lie, as far as our sizes tell."""
    if found is None:
        return MISSING
    if found.millions is None:
        return f"more than {found.too_few or 0:.3g} M"
    if found.too_few is None:
        return f"at most {found.millions:.3g} M"
    return f"{found.too_few:.3g} to {found.millions:.3g} M"


def _point(axes: Axes, x: float, y: float, index: int, label: str, *, hollow: bool) -> None:
    axes.plot(
        [x],
        [y],
        linestyle="none",
        marker=marker(index),
        markersize=8,
        color=colour(index),
        markerfacecolor="white" if hollow else colour(index),
        label=label,
    )
