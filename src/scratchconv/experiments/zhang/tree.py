"""Figure 1: test error on the binary tree against training samples, at three levels of noise.

The text's own sizes and lengths, and the trials of `tree_runs`, at every scale but smoke: 420 runs,
3.1 million steps of 0.5 ms on an idle core, 2 ms on a shared one.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from scratchconv.experiments import figures
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.zhang.read_off import FIGURE1
from scratchconv.experiments.zhang.tree_runs import NETWORKS, Place, places, runs
from scratchconv.lab import Lab, Outcome, Picture, Table, how_many, mean_and_deviation

LOW = 0.1
"""A test error that counts as low; the paper's figure shows little of what is below."""

_READ_TO = 0.02
"""What a number is read off the paper's figure to."""

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
    trials = [trial for place in means for trial in _trials(errors[place])]
    made = how_many((errors[p][n] for p in at_end for n in ("weight", "fc")), "trial")
    return [
        f"LocalNet and OracleNet both have a lower mean error than WeightNet and FCNet at"
        f" {_local_wins(means.values())} of {len(means)} pairs of a size and a noise (the paper's"
        f" figure: {_local_wins(theirs.values())}, {_near(theirs.values())} of them by less than it"
        f" can be read to), and in {_local_wins(trials)} of {len(trials)} trials.",
        f"With {largest:,} samples and ε = {noises}, WeightNet's mean error is {weight}, FCNet's"
        f" {full} ({made} each).",
        f"At ε = {noisiest:g} the mean error stays at or below {LOW:g} from this many samples on,"
        f" the paper's as read off its figure: {needs}.",
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


def _trials(errors: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """The trials of a place, each with all networks on one tree; none where one failed."""
    if len({len(of) for of in errors.values()}) > 1:
        return []
    return [dict(zip(errors, trial, strict=True)) for trial in zip(*errors.values(), strict=True)]


def _margin(errors: Mapping[str, float]) -> float:
    """By how much the worse of the local networks is better than the better of the others."""
    return min(errors["weight"], errors["fc"]) - max(errors["local"], errors["oracle"])


def _local_wins(errors: Iterable[Mapping[str, float]]) -> int:
    return sum(_margin(of) > 0 for of in errors)


def _near(errors: Iterable[Mapping[str, float]]) -> int:
    """Wins of the paper's local networks that reading its figure may have made."""
    return sum(0 < _margin(of) <= 2 * _READ_TO for of in errors)


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
            # No bars: a deviation as large as the mean hides the other lines. Below are the trials.
            means = [[statistics.mean(values)] if values else [] for values in found]
            for axes in (above, below):
                figures.draw_ours(axes, sizes, means, index=index, label=title)
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
        note="Solid: ours, the mean over trials; points below: the trials, each of which has a new"
        " tree, hence the spread. Dashed: the paper's figure. The upper"
        " panels end at 3.2.",
    )


def table(errors: Errors) -> Table:
    """Mean and deviation over the trials, the paper's means beside them."""
    rows = []
    for place, of in errors.items():
        cells: list[str] = []
        for network in NETWORKS:
            cells += [
                _cell(of[network]),
                f"{published_error(place, network):.2f}",
            ]
        rows.append((f"{place.noise:g}", f"{place.samples:,}", how_many(of.values()), *cells))
    columns = [cell for title in NETWORKS.values() for cell in (f"{title}: ours", "the paper")]
    return Table(
        "Test error",
        ("ε", "samples", "trials", *columns),
        tuple(rows),
        note="Mean ± standard deviation over trials; of two trials both. Noise is on training"
        " targets alone: test targets are exact; ε is taken for its standard deviation, which the"
        " text does not say. The paper's are read off its Figure 1, to about"
        f" ± {_READ_TO:g}.",
    )


def _cell(errors: Sequence[float]) -> str:
    """Of two trials both numbers: their deviation would say less."""
    if len(errors) == 2:
        return ", ".join(f"{error:#.2g}" for error in errors)
    return mean_and_deviation(errors, "{:#.2g}")


EXPERIMENT = Experiment(
    name="zhang-tree",
    title="Binary tree: test error against training samples",
    source="Zhang 2021, Figure 1",
    datasets=("tree",),
    reproduce=reproduce,
    laptop_minutes=56,
)
AS_PUBLISHED_CODE = Experiment(
    name="zhang-tree-as-published-code",
    title="Binary tree, as the published code: test error against training samples",
    source="Zhang 2021, Figure 1",
    datasets=("tree",),
    reproduce=partial(reproduce, published_code=True),
    laptop_minutes=44,
)
