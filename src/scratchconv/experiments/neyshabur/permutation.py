"""The claim that permuting all pixels changes nothing for S-FC, and that it does for S-CONV.

S-FC by SGD and by β = 50 and S-CONV by SGD, each with the settings of Table 2, on images as they
are and with one fixed permutation of the pixels; every seed of the scale. The runs that are not
permuted are Table 2's.

For a fully connected network permuted pixels are another order of the first layer's columns: the
distribution of its results is the same, though a seed's own initial weights then meet other pixels.
So the two groups of runs are samples of one thing, and not in pair.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace

from scratchconv.experiments import chosen_settings
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.figures import colour, label_axes, legend_below, marker, new_figure
from scratchconv.experiments.finished_runs import finished_runs
from scratchconv.experiments.mean_difference import MeanDifference, mean_difference
from scratchconv.experiments.neyshabur.table2_runs import table2_runs
from scratchconv.lab import Lab, Outcome, Picture, RunRecord, Table, augmentation, how_many, percent
from scratchconv.report.wording import signed

NETWORKS = (
    ("S-FC, SGD", "s-fc", "sgd"),
    ("S-FC, β = 50", "s-fc", "beta-lasso-50"),
    ("S-CONV, SGD", "s-conv", "sgd"),
)
PERMUTATION = 1
"""The seed of the permutation, one for all runs."""


@dataclass(frozen=True)
class Pair:
    """Runs on images as they are and permuted, one a seed whose loss stayed finite."""

    plain: list[RunRecord]
    permuted: list[RunRecord]

    def difference(self) -> MeanDifference:
        """Mean test accuracy permuted less that as it is, in points."""
        after, before = (
            [record.accuracy() for record in records] for records in (self.permuted, self.plain)
        )
        return mean_difference(after, before)


Found = dict[str, dict[str, Pair]]
"""By dataset and the title of a network."""


def reproduce(lab: Lab) -> Outcome:
    """Train all of them, compare the groups."""
    plain = {
        (title, data): lab.seeds(f"{title} on {data}", config)
        for (title, _, data), config in table2_runs(lab, NETWORKS).items()
    }
    permuted = {
        row: {f"{name}, permuted": replace(run, permute=PERMUTATION) for name, run in runs.items()}
        for row, runs in plain.items()
    }
    groups = {(*row, "as they are"): runs for row, runs in plain.items()}
    groups |= {(*row, "permuted"): runs for row, runs in permuted.items()}
    made = finished_runs(lab.train_groups(groups))
    found: Found = {data: {} for data in lab.datasets}
    for title, data in plain:
        pair = (made[title, data, how] for how in ("as they are", "permuted"))
        found[data][title] = Pair(*pair)
    said = [sentence for data, by_title in found.items() for sentence in sentences(data, by_title)]
    return Outcome(tuple(said), (picture(found), table(found)))


def picture(found: Found) -> Picture:
    """A point a run, a line from the mean of those as they are to that of the permuted."""
    changes = augmentation(
        record for by_title in found.values() for pair in by_title.values() for record in pair.plain
    )
    before = (
        f" {changes[0].upper()}{changes[1:]} come before the permutation, so that they are those of"
        " images in all runs."
        if changes
        else ""
    )
    figure, panels = new_figure(3.4 * len(found) + 0.6, 3.5, columns=len(found))
    for axes, (data, by_title) in zip(panels, found.items(), strict=True):
        for index, (title, pair) in enumerate(by_title.items()):
            means = []
            for place, records in enumerate((pair.plain, pair.permuted)):
                accuracies = [record.accuracy() for record in records]
                means.append(statistics.mean(accuracies))
                axes.plot(
                    [place] * len(accuracies),
                    accuracies,
                    color=colour(index),
                    marker=marker(index),
                    markersize=5,
                    linewidth=0,
                    label=title if place == 0 else "_",
                )
            axes.plot([0, 1], means, color=colour(index), linewidth=1.2)
        axes.set_xlim(-0.3, 1.3)
        axes.set_xticks([0, 1], ["as they are", "permuted"])
        label_axes(
            axes,
            x="pixels",
            y="test accuracy (%)" if axes is panels[0] else "",
            title=data,
        )
    legend_below(figure, columns=3)
    return Picture.of(
        figure,
        title="Test accuracy with pixels as they are and permuted",
        name="permutation",
        description="Accuracies of runs on pixels as they are and on permuted ones.",
        note=f"A point a seed, lines between means.{before} The paper claims that β-LASSO's lines"
        " are level, without numbers.",
    )


def table(found: Found) -> Table:
    """Accuracies, and the difference of their means."""
    rows = []
    for data, by_title in found.items():
        for title, pair in by_title.items():
            difference = pair.difference()
            rows.append(
                (
                    title,
                    data,
                    percent([record.accuracy() for record in pair.plain]),
                    percent([record.accuracy() for record in pair.permuted]),
                    signed(difference.mean),
                    difference.range,
                )
            )
    pairs = [pair for by_title in found.values() for pair in by_title.values()]
    seeds = how_many((runs for pair in pairs for runs in (pair.plain, pair.permuted)), "seed")
    return Table(
        "Test accuracy, and what the permutation changes",
        ("network", "data", "as they are", "permuted", "difference (points)", "95 % interval"),
        tuple(rows),
        note=f"n = {seeds} each, ± their standard deviation; the"
        " interval is Welch's, of the difference of means. All permuted runs have one permutation."
        " Settings were chosen on images as they are."
        f" {chosen_settings.note(record for pair in pairs for record in pair.plain)}",
    )


def sentences(data: str, by_title: dict[str, Pair]) -> list[str]:
    """What the permutation changes, and how sure that is."""
    said = []
    for title, pair in by_title.items():
        difference = pair.difference()
        if min(len(pair.plain), len(pair.permuted)) < 2:
            verdict = ": one seed, so that nothing can be said of chance"
        elif difference.interval is None:
            verdict = ": no seed differs from another, so that nothing can be said of chance"
        else:
            verdict = "" if difference.separated else ": the seeds do not tell them apart"
        said.append(
            f"{data}, {title}: permuting pixels changes test accuracy by {difference}{verdict}."
        )
    return said


EXPERIMENT = Experiment(
    name="permutation",
    title="Permuted pixels: does anything change?",
    source="Neyshabur 2020, sections 1 and 5 (a claim without numbers)",
    datasets=("cifar10",),
    reproduce=reproduce,
    laptop_minutes=113,
)
