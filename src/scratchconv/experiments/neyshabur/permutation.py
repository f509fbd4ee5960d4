"""The claim that permuting all pixels changes nothing for S-FC, and that it does for S-CONV.

S-FC by SGD and by β = 50 and S-CONV by SGD, each with the settings of Table 2, on images as they
are and with one fixed permutation of the pixels; every seed of the scale. The runs that are not
permuted are Table 2's.

For a fully connected network permuted pixels are another order of the first layer's columns: the
distribution of its results is the same, though a seed's own initial weights then meet other pixels.
So the differences between runs of one seed are samples of something of mean 0.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace

from scipy.stats import t as student

from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.figures import colour, label_axes, legend_below, marker, new_figure
from scratchconv.experiments.neyshabur.table2_runs import table2_runs
from scratchconv.lab import Lab, Outcome, Picture, RunRecord, Table, mean_and_deviation, percent
from scratchconv.report.wording import signed

NETWORKS = (
    ("S-FC, SGD", "s-fc", "sgd"),
    ("S-FC, β = 50", "s-fc", "beta-lasso-50"),
    ("S-CONV, SGD", "s-conv", "sgd"),
)
PERMUTATION = 1
"""The seed of the permutation, one for all runs."""


@dataclass(frozen=True)
class Pairs:
    """Runs on images as they are and permuted, seed by seed."""

    plain: list[RunRecord]
    permuted: list[RunRecord]

    def differences(self) -> list[float]:
        """Test accuracy permuted less that as it is, in points, one a seed."""
        return [
            after.accuracy() - before.accuracy()
            for before, after in zip(self.plain, self.permuted, strict=True)
        ]


Found = dict[str, dict[str, Pairs]]
"""By dataset and the title of a network."""


def reproduce(lab: Lab) -> Outcome:
    """Train all of them, compare seed by seed."""
    plain = {
        (title, data): lab.seeds(f"{title} on {data}", config)
        for (title, _, data), config in table2_runs(lab, NETWORKS).items()
    }
    permuted = {
        row: {f"{name}, permuted": replace(run, permute=PERMUTATION) for name, run in runs.items()}
        for row, runs in plain.items()
    }
    groups = {(row, "plain"): runs for row, runs in plain.items()}
    groups |= {(row, "permuted"): runs for row, runs in permuted.items()}
    made = lab.train_groups(groups)
    found: Found = {data: {} for data in lab.datasets}
    for title, data in plain:
        pairs = (made[(title, data), how] for how in ("plain", "permuted"))
        found[data][title] = Pairs(*pairs)
    said = [sentence for data, by_title in found.items() for sentence in sentences(data, by_title)]
    return Outcome(tuple(said), (picture(found), table(found)))


def interval(differences: list[float], level: float = 0.95) -> tuple[float, float] | None:
    """Student's interval of the mean difference; None of a single one."""
    n = len(differences)
    if n < 2:
        return None
    half = float(student.ppf((1 + level) / 2, n - 1)) * statistics.stdev(differences) / math.sqrt(n)
    mean = statistics.mean(differences)
    return mean - half, mean + half


def picture(found: Found) -> Picture:
    """A point a run, a line from a seed's run to the same permuted."""
    figure, panels = new_figure(3.4 * len(found) + 0.6, 3.5, columns=len(found))
    for axes, (data, by_title) in zip(panels, found.items(), strict=True):
        for index, (title, pairs) in enumerate(by_title.items()):
            for number, (before, after) in enumerate(zip(pairs.plain, pairs.permuted, strict=True)):
                axes.plot(
                    [0, 1],
                    [before.accuracy(), after.accuracy()],
                    color=colour(index),
                    marker=marker(index),
                    markersize=5,
                    linewidth=1.2,
                    label=title if number == 0 else "_",
                )
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
        description="Lines from the accuracy of a run to that of the same run on permuted pixels.",
        note="A line a seed. Flips and crops come before the permutation, so that they are those of"
        " images in all runs. The paper claims that β-LASSO's lines are level, without numbers.",
    )


def table(found: Found) -> Table:
    """Accuracies, and their paired differences."""
    rows = []
    for data, by_title in found.items():
        for title, pairs in by_title.items():
            differences = pairs.differences()
            between = interval(differences)
            rows.append(
                (
                    title,
                    data,
                    percent([record.accuracy() for record in pairs.plain]),
                    percent([record.accuracy() for record in pairs.permuted]),
                    mean_and_deviation(differences, "{:+.2f}")
                    .replace("± +", "± ")
                    .replace("-", "−"),
                    "–" if between is None else f"{signed(between[0])} to {signed(between[1])}",
                )
            )
    n = len(next(iter(next(iter(found.values())).values())).plain)
    return Table(
        "Test accuracy, and what the permutation changes",
        ("network", "data", "as they are", "permuted", "difference (points)", "95 % interval"),
        tuple(rows),
        note=f"n = {n} seed{'' if n == 1 else 's'}, paired; ± is the sample standard deviation of"
        " the differences, the interval Student's of their mean.",
    )


def sentences(data: str, by_title: dict[str, Pairs]) -> list[str]:
    """What the permutation changes, and whether that is more than the seeds do."""
    said = []
    for title, pairs in by_title.items():
        differences = pairs.differences()
        mean, between = statistics.mean(differences), interval(differences)
        if between is None:
            verdict = "one seed, so that nothing can be said of chance"
        elif between[0] <= 0 <= between[1]:
            verdict = "0 lies in the 95 % interval of the mean"
        else:
            verdict = "0 lies outside the 95 % interval of the mean"
        said.append(f"{data}, {title}: permuting pixels changes {signed(mean)} points ({verdict}).")
    return said


EXPERIMENT = Experiment(
    name="permutation",
    title="Permuted pixels: does anything change?",
    source="Neyshabur 2020, sections 1 and 5 (a claim without numbers)",
    datasets=("cifar10",),
    reproduce=reproduce,
    laptop_minutes=128,
)
