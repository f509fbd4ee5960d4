"""Figure 1: test error on the binary tree against training samples, at three levels of noise.

The text's own sizes, lengths and trials at every scale but smoke: 420 runs, 3.1 million steps of
0.5 ms on an idle core, 2 ms on a shared one: 30 to 115 core-minutes, half of that with --jobs 2.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from functools import partial

from scratchconv.experiments import figures
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.zhang.read_off import FIGURE1
from scratchconv.experiments.zhang.tree_runs import NETWORKS, Place, places, runs
from scratchconv.lab import Lab, Outcome, Picture, Table, mean_and_deviation

LOW = 0.1
"""A test error that counts as low; the paper's figure shows little of what is below."""

Errors = Mapping[Place, Mapping[str, Sequence[float]]]
"""Test errors by place and network, one a trial."""


def reproduce(lab: Lab, *, published_code: bool = False) -> Outcome:
    """Train four networks on every tree, draw their test errors."""
    wanted = {
        (place, network): runs(lab, place, network, published_code=published_code)
        for place in places(lab)
        for network in NETWORKS
    }
    records = lab.train({name: run for trials in wanted.values() for name, run in trials.items()})
    errors: dict[Place, dict[str, list[float]]] = {}
    for (place, network), trials in wanted.items():
        found = [records[name].loss("test") for name in trials if not records[name].failure]
        errors.setdefault(place, {})[network] = found
    said = (*sentences(errors), difference(published_code))
    return Outcome(said, (picture(errors, published_code), table(errors)))


def published_error(place: Place, network: str) -> float:
    """That of Figure 1 in the paper."""
    return FIGURE1[place.noise][network][place.number % 7]


def sentences(errors: Errors) -> list[str]:
    """Whether locality is what helps, how WeightNet ends, and what noise costs."""
    means = {
        place: {network: statistics.mean(of[network]) for network in NETWORKS}
        for place, of in errors.items()
        if all(of[network] for network in NETWORKS)
    }
    if not means:
        return ["No place has a trial of every network that ended with a finite error."]
    theirs = {place: {n: published_error(place, n) for n in NETWORKS} for place in means}
    largest = max(place.samples for place in means)
    noisiest = max(place.noise for place in means)
    at_end = [place for place in means if place.samples == largest]
    weight, full = (
        ", ".join(f"{means[place][network]:#.2g}" for place in at_end)
        for network in ("weight", "fc")
    )
    noises = ", ".join(f"{place.noise:g}" for place in at_end)
    needs = ", ".join(
        f"{title} {_needed(means, network, noisiest)} (the paper:"
        f" {_needed(theirs, network, noisiest)})"
        for network, title in NETWORKS.items()
    )
    return [
        f"LocalNet and OracleNet both have a lower mean error than WeightNet and FCNet at"
        f" {_local_wins(means)} of {len(means)} pairs of a size and a noise (the paper's figure:"
        f" {_local_wins(theirs)}).",
        f"With {largest:,} samples and ε = {noises}, WeightNet's mean error is {weight}, FCNet's"
        f" {full}.",
        f"At ε = {noisiest:g} the mean error stays at or below {LOW:g} from this many samples on:"
        f" {needs}.",
    ]


def difference(published_code: bool) -> str:
    """What stands between the text and the code, in words."""
    if published_code:
        return (
            "As the published code: the noise is one number, added to the targets of a whole"
            " training set. The text has one for every sample."
        )
    return (
        "As the text says: every training sample has noise of its own. The published curves come"
        " from code that added one number to the targets of a whole training set;"
        " --as-published-code does so too. At ε = 0 the two are the same."
    )


def _local_wins(means: Mapping[Place, Mapping[str, float]]) -> int:
    return sum(
        max(of["local"], of["oracle"]) < min(of["weight"], of["fc"]) for of in means.values()
    )


def _needed(means: Mapping[Place, Mapping[str, float]], network: str, noise: float) -> str:
    """The size from which on the error is low, in words."""
    curve = sorted(
        (place.samples, of[network]) for place, of in means.items() if place.noise == noise
    )
    high = [samples for samples, error in curve if error > LOW]
    if not high:
        return f"{curve[0][0]:,}"
    after = [samples for samples, _ in curve if samples > high[-1]]
    return f"{after[0]:,}" if after else "at no size here"


def picture(errors: Errors, published_code: bool = False) -> Picture:
    """Above as in the paper, a panel a noise; below ours alone, on a logarithmic axis."""
    noises = sorted({place.noise for place in errors})
    figure, panels = figures.new_figure(9.6, 6.2, columns=len(noises), rows=2)
    for column, noise in enumerate(noises):
        line = sorted((p for p in errors if p.noise == noise), key=lambda place: place.samples)
        sizes = [place.samples for place in line]
        above, below = panels[column], panels[len(noises) + column]
        for index, (network, title) in enumerate(NETWORKS.items()):
            found = [errors[place][network] for place in line]
            figures.draw_ours(above, sizes, found, index=index, label=title)
            # A deviation as large as the mean has no place on a logarithmic axis: no bars.
            means = [[statistics.mean(values)] if values else [] for values in found]
            figures.draw_ours(below, sizes, means, index=index, label=title)
            for size, values in zip(sizes, found, strict=True):
                below.plot(
                    [size] * len(values), values, ".", color=figures.colour(index), alpha=0.4
                )
            theirs = [published_error(place, network) for place in line]
            figures.draw_published(
                above, sizes, theirs, index=index, label=f"{title}, the paper's figure"
            )
        above.set_ylim(-0.1, 3.2)
        below.set_yscale("log")
        for axes in (above, below):
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [f"{size}" for size in sizes], rotation=45)
        figures.label_axes(
            above, y="test error (mean square)" if column == 0 else "", title=f"ε = {noise:g}"
        )
        figures.label_axes(
            below,
            x="training samples",
            y="the same, ours, logarithmic" if column == 0 else "",
        )
    figures.legend_below(figure, columns=4)
    return Picture.of(
        figure,
        title="Test error against training samples",
        name="zhang_tree",
        description="Test error of four networks on the binary tree, one panel for each noise.",
        note="Solid: ours, the mean over trials. Bars are their standard deviation, points below"
        " the trials; each has a new tree, hence the spread. Dashed: the paper's figure. The upper"
        " panels end at 3.2.",
    )


def table(errors: Errors) -> Table:
    """Mean and deviation over the trials, the paper's means beside them."""
    rows = []
    for place, of in errors.items():
        cells: list[str] = []
        for network in NETWORKS:
            cells += [
                mean_and_deviation(of[network], "{:#.2g}"),
                f"{published_error(place, network):.2f}",
            ]
        rows.append((f"{place.noise:g}", f"{place.samples:,}", str(place.trials), *cells))
    columns = [cell for title in NETWORKS.values() for cell in (f"{title}: ours", "the paper")]
    return Table(
        "Test error",
        ("ε", "samples", "trials", *columns),
        tuple(rows),
        note="The paper's are read off its Figure 1, to about ± 0.02.",
    )


EXPERIMENT = Experiment(
    name="zhang-tree",
    title="Binary tree: test error against training samples",
    source="Zhang 2021, Figure 1",
    datasets=("tree",),
    reproduce=reproduce,
    laptop_minutes=57,
)
AS_PUBLISHED_CODE = Experiment(
    name="zhang-tree-as-published-code",
    title="Binary tree, as the published code: test error against training samples",
    source="Zhang 2021, Figure 1",
    datasets=("tree",),
    reproduce=partial(reproduce, published_code=True),
)
