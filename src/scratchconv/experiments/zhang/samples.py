"""Figure 3: test accuracy on MNIST and CIFAR-10 against training samples.

At `laptop` 192,000 steps of every network and dataset, 1 to 9 ms each, and a test of 10,000 images
after every run. The text's sizes and lengths at every scale; other scales than `laptop` have the
published code's number of trials.
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
from scratchconv.lab import Lab, Outcome, Picture, Table, how_many, mean_and_deviation
from scratchconv.report.wording import ranked

_LEARNED = 15.0
"""Percent from which on a network is said to have learned something: one in ten is chance."""

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
    ours, theirs = (
        {data: [samples(lab, data, size, published_code=code) for size in drawn] for data in found}
        for code in (published_code, True)
    )
    said = [
        sentence
        for data, accuracies in found.items()
        for sentence in (
            *sentences(data, drawn, accuracies, published_code),
            distance(data, drawn, accuracies, ours[data], theirs[data]),
        )
    ]
    return Outcome(
        (*said, difference(published_code=published_code)),
        (picture(drawn, found, ours, theirs), table(drawn, found, ours)),
    )


def sentences(
    data: str, drawn: Sequence[Size], accuracies: Accuracies, published_code: bool
) -> list[str]:
    """Which network is best and worst how often, here and at the sizes that the paper prints."""
    whole = [i for i in range(len(drawn)) if all(accuracies[n][i] for n in NETWORKS)]
    if not whole:
        return [f"{data}: at no size did a run of every network end with a finite loss."]
    means = {n: {i: statistics.mean(accuracies[n][i]) for i in whole} for n in NETWORKS}
    learned = [i for i in whole if max(means[n][i] for n in NETWORKS) > _LEARNED]
    if not learned:
        return [f"{data}: at no size does a network reach {_LEARNED:g} %."]
    ours = {n: {drawn[i].label: means[n][i] for i in learned} for n in NETWORKS}
    theirs = {
        n: {drawn[i].label: published_accuracy(data, n, drawn[i]) for i in learned} for n in ours
    }
    last = drawn[learned[-1]].label
    return [
        f"{data}, {last:,} samples{' a class' if published_code else ''}: {_order(ours, last)}"
        f" (the paper: {_order(theirs, last)}).",
        f"{data}: ConvNet is the best of the four at {_leads(ours, 'conv')} of the {len(learned)}"
        f" sizes at which one of them reaches {_LEARNED:g} % (the paper: {_leads(theirs, 'conv')}),"
        f" WeightNet the worst at {_trails(ours, 'weight')} (the paper:"
        f" {_trails(theirs, 'weight')}).",
    ]


def distance(
    data: str,
    drawn: Sequence[Size],
    accuracies: Accuracies,
    ours: Sequence[int],
    theirs: Sequence[int],
) -> str:
    """How far our curves are from the paper's, at one size as printed and at one as trained on.

    `ours` and `theirs`: the samples in all that every size stands for.
    """
    as_trained = [
        (i, size)
        for i, mine in enumerate(ours)
        for size, other in zip(drawn, theirs, strict=True)
        if mine == other
    ]
    # Of the same networks, or the two distances could not be compared; where the sizes are theirs
    # there is one distance, of all.
    as_printed = [(i, drawn[i]) for i, _ in as_trained]
    if ours == theirs or not as_trained:
        as_printed = list(enumerate(drawn))
    printed, trained = (
        [
            abs(statistics.mean(accuracies[network][i]) - published_accuracy(data, network, size))
            for i, size in places
            for network in NETWORKS
            if accuracies[network][i]
        ]
        for places in (as_printed, as_trained)
    )
    said = []
    if printed:
        said.append(f"{statistics.mean(printed):.1f} points at one size as printed")
    if trained and ours != theirs:
        said.append(f"{statistics.mean(trained):.1f} at as many samples in all")
    if not said:
        return f"{data}: no size has a finite run."
    places = "" if len(as_printed) == len(drawn) else f", both over {len(as_printed)} of the sizes"
    return f"{data}: mean distance of ours from the paper's: {', '.join(said)}{places}."


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


def picture(
    drawn: Sequence[Size],
    found: Mapping[str, Accuracies],
    ours: Mapping[str, Sequence[int]],
    theirs: Mapping[str, Sequence[int]],
) -> Picture:
    """A panel a dataset, as in the paper, each curve over the samples that it was trained on.

    `ours` and `theirs`: by dataset the samples in all of every size.
    """
    figure, panels = figures.new_figure(9.6, 4.4, columns=max(1, len(found)))
    for axes, (data, accuracies) in zip(panels, found.items(), strict=False):
        for index, (network, title) in enumerate(NETWORKS.items()):
            figures.draw_ours(axes, ours[data], accuracies[network], index=index, label=title)
            published_ = [published_accuracy(data, network, size) for size in drawn]
            figures.draw_published(
                axes, theirs[data], published_, index=index, label=f"{title}, the paper's figure"
            )
        places = sorted({*ours[data], *theirs[data]})
        axes.set_xscale("log")
        axes.set_xticks(places, [f"{place:,}" for place in places], rotation=45)
        axes.xaxis.set_minor_locator(NullLocator())
        figures.label_axes(axes, x="training samples in all", y="test accuracy (%)", title=data)
    figures.legend_below(figure, columns=4)
    return Picture.of(
        figure,
        title="Test accuracy against training samples",
        name="zhang_samples",
        description="Test accuracy of four networks against training samples, a panel a dataset.",
        note="Solid: ours, means over trials with their standard deviation. Dashed: the paper's"
        " figure, at the samples its code takes: ten times the size it prints, at most all there"
        " are.",
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
            trials = how_many(accuracies[network][i] for network in NETWORKS)
            where = (f"{size.label:,}", f"{real[data][i]:,}", str(size.batch), trials)
            rows.append((data, *where, *cells))
    columns = [cell for title in NETWORKS.values() for cell in (f"{title}: ours", "the paper")]
    return Table(
        "Test accuracy in percent",
        ("data", "size", "samples in all", "batch", "trials", *columns),
        tuple(rows),
        note="The paper's stand at the size that it prints, whatever its code made of that; they"
        " are read off its Figure 3, to about ± 0.2 points.",
    )


EXPERIMENT = Experiment(
    name="zhang-samples",
    title="MNIST and CIFAR-10: test accuracy against training samples",
    source="Zhang 2021, Figure 3",
    datasets=("mnist", "cifar10"),
    reproduce=reproduce,
    laptop_minutes=57,
)
AS_PUBLISHED_CODE = Experiment(
    name="zhang-samples-as-published-code",
    title="MNIST and CIFAR-10, as the published code: test accuracy against training samples",
    source="Zhang 2021, Figure 3",
    datasets=("mnist", "cifar10"),
    reproduce=partial(reproduce, published_code=True),
    laptop_minutes=143,
)
