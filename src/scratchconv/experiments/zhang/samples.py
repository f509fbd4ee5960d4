"""Figure 3: test accuracy on MNIST and CIFAR-10 against training samples.

At `laptop` 192,000 steps of every network and dataset, 1 to 9 ms each, and a test of 10,000 images
after every run. As the published code, some 175 core-minutes: an hour and a half. The text's sizes
and lengths at every scale; other scales than `laptop` have the published code's number of trials.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from functools import partial

from matplotlib.ticker import NullLocator

from scratchconv.experiments import figures
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.zhang.image_runs import (
    NETWORKS,
    Size,
    difference,
    runs,
    samples,
    sizes,
)
from scratchconv.experiments.zhang.read_off import FIGURE3
from scratchconv.lab import Lab, Outcome, Picture, Table, mean_and_deviation
from scratchconv.report.wording import ranked

Accuracies = Mapping[str, Sequence[Sequence[float]]]
"""Test accuracies in percent by network: for every size, one a trial."""


def reproduce(lab: Lab, *, published_code: bool = False) -> Outcome:
    """Train four networks on subsets of every dataset, draw their test accuracies."""
    drawn = sizes(lab, published_code=published_code)
    found: dict[str, dict[str, list[list[float]]]] = {}
    for data in lab.datasets:
        wanted = {
            (network, size): runs(lab, data, size, network, published_code=published_code)
            for size in drawn
            for network in NETWORKS
        }
        configs = {name: run for trials in wanted.values() for name, run in trials.items()}
        records = lab.train(configs)
        found[data] = {
            network: [
                [records[n].accuracy() for n in wanted[network, size] if not records[n].failure]
                for size in drawn
            ]
            for network in NETWORKS
        }
    said = [
        sentence
        for data, accuracies in found.items()
        for sentence in sentences(data, drawn, accuracies, published_code)
    ]
    real = {
        data: [samples(lab, data, size, published_code=published_code) for size in drawn]
        for data in found
    }
    return Outcome(
        (*said, difference(published_code=published_code)),
        (picture(drawn, found, published_code), table(drawn, found, real)),
    )


def sentences(
    data: str, drawn: Sequence[Size], accuracies: Accuracies, published_code: bool
) -> list[str]:
    """Which network is best and worst how often, and how far from the paper's curves ours are."""
    whole = [i for i in range(len(drawn)) if all(accuracies[n][i] for n in NETWORKS)]
    if not whole:
        return [f"{data}: no size has a finite run of every network."]
    ours = {n: {drawn[i].label: statistics.mean(accuracies[n][i]) for i in whole} for n in NETWORKS}
    theirs = {
        n: {drawn[i].label: published_accuracy(data, n, drawn[i]) for i in whole} for n in ours
    }
    last = drawn[whole[-1]].label
    said = [
        f"{data}, {last:,} samples{' a class' if published_code else ''}: {_order(ours, last)}"
        f" (the paper: {_order(theirs, last)}).",
        f"{data}: ConvNet is the best of the four at {_leads(ours, 'conv')} of {len(whole)} sizes"
        f" (the paper: {_leads(theirs, 'conv')}), WeightNet the worst at"
        f" {_trails(ours, 'weight')} (the paper: {_trails(theirs, 'weight')}).",
    ]
    away = statistics.mean(_differences(ours, theirs))
    return [
        *said,
        f"{data}: ours are {away:.1f} points from the paper's at the sizes it prints (mean of"
        " absolute differences).",
    ]


def published_accuracy(data: str, network: str, size: Size) -> float:
    """That of Figure 3 in the paper, in percent."""
    return FIGURE3[data][network][size.number]


Curves = Mapping[str, Mapping[int, float]]
"""Mean accuracy by network and printed size."""


def _order(curves: Curves, size: int) -> str:
    return ranked({NETWORKS[name]: curve[size] for name, curve in curves.items()}, "{:.1f}")


def _leads(curves: Curves, network: str) -> int:
    """At how many sizes no other network is as good."""
    others = [curve for name, curve in curves.items() if name != network]
    return sum(all(value > c[size] for c in others) for size, value in curves[network].items())


def _trails(curves: Curves, network: str) -> int:
    """At how many sizes no other network is as bad."""
    others = [curve for name, curve in curves.items() if name != network]
    return sum(all(value < c[size] for c in others) for size, value in curves[network].items())


def _differences(ours: Curves, theirs: Curves) -> list[float]:
    """Absolute differences between ours and theirs."""
    return [
        abs(value - theirs[network][size])
        for network, curve in ours.items()
        for size, value in curve.items()
    ]


def picture(
    drawn: Sequence[Size], found: Mapping[str, Accuracies], published_code: bool = False
) -> Picture:
    """A panel a dataset, as in the paper."""
    figure, panels = figures.new_figure(9.6, 4.4, columns=max(1, len(found)))
    places = [size.label for size in drawn]
    for axes, (data, accuracies) in zip(panels, found.items(), strict=False):
        for index, (network, title) in enumerate(NETWORKS.items()):
            figures.draw_ours(axes, places, accuracies[network], index=index, label=title)
            theirs = [published_accuracy(data, network, size) for size in drawn]
            figures.draw_published(
                axes, places, theirs, index=index, label=f"{title}, the paper's figure"
            )
        axes.set_xscale("log")
        axes.set_xticks(places, [f"{place:,}" for place in places], rotation=45)
        axes.xaxis.set_minor_locator(NullLocator())
        unit = "training samples of each class" if published_code else "training samples"
        figures.label_axes(axes, x=unit, y="test accuracy (%)", title=data)
    figures.legend_below(figure, columns=4)
    return Picture.of(
        figure,
        title="Test accuracy against training samples",
        name="zhang_samples",
        description="Test accuracy of four networks against training samples, a panel a dataset.",
        note="Solid: ours, means over trials with their standard deviation. Dashed: the paper's"
        " figure at the sizes it prints"
        + (", as many of each class." if published_code else "; its code took ten times as many."),
    )


def table(
    drawn: Sequence[Size], found: Mapping[str, Accuracies], real: Mapping[str, Sequence[int]]
) -> Table:
    """Means and deviations over the trials, the paper's beside them."""
    rows = []
    for data, accuracies in found.items():
        for i, size in enumerate(drawn):
            cells: list[str] = []
            for network in NETWORKS:
                cells += [
                    mean_and_deviation(accuracies[network][i], "{:.1f}"),
                    f"{published_accuracy(data, network, size):.1f}",
                ]
            where = (f"{size.label:,}", f"{real[data][i]:,}", str(size.batch), str(size.trials))
            rows.append((data, *where, *cells))
    columns = [cell for title in NETWORKS.values() for cell in (f"{title}: ours", "the paper")]
    return Table(
        "Test accuracy in percent",
        ("data", "size", "samples in all", "batch", "trials", *columns),
        tuple(rows),
        note="The paper's are read off its Figure 3, to about ± 0.2 points.",
    )


EXPERIMENT = Experiment(
    name="zhang-samples",
    title="MNIST and CIFAR-10: test accuracy against training samples",
    source="Zhang 2021, Figure 3",
    datasets=("mnist", "cifar10"),
    reproduce=reproduce,
    laptop_minutes=54,
)
AS_PUBLISHED_CODE = Experiment(
    name="zhang-samples-as-published-code",
    title="MNIST and CIFAR-10, as the published code: test accuracy against training samples",
    source="Zhang 2021, Figure 3",
    datasets=("mnist", "cifar10"),
    reproduce=partial(reproduce, published_code=True),
)
