"""Figure 3: the weights that are left in every layer of S-FC, epoch by epoch, by β = 50.

The runs are Table 2's (its first seed), so that beyond it this costs nothing. The paper's reference
lines (S-CONV and S-LOCAL, whose first layers are the small ones) are drawn for the α we have; where
its curves end is drawn as a density, for its α is another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.ticker import NullFormatter

from scratchconv import models, published
from scratchconv.experiments import chosen_settings
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.figures import (
    INK,
    MUTED,
    colour,
    label_axes,
    legend_below,
    new_figure,
    two_decades,
)
from scratchconv.experiments.neyshabur.table2_runs import table2_records
from scratchconv.lab import Lab, Outcome, Picture, RunRecord, Table
from scratchconv.report import wording

_PAPER_ALPHA = 230
"""That of the paper's reference lines; not stated, it follows from them, as do 25α hidden units."""
_TITLE = "S-FC by β = 50"
_LAYERS = ("first layer", "second layer", "last layer")


@dataclass(frozen=True)
class Burst:
    """A stretch of epochs over which a layer's non-zeros rose.

    first, last: epochs before and at its end. before, after: non-zeros at them.
    """

    first: int
    last: int
    before: int
    after: int


def reproduce(lab: Lab) -> Outcome:
    """Train S-FC by β = 50 on every dataset, draw the non-zeros of its layers."""
    by_title = table2_records(lab, [(_TITLE, "s-fc", "beta-lasso-50")], epochs=True)
    found = {data: records[_TITLE] for data, records in by_title.items()}
    said = [sentence for data, record in found.items() for sentence in sentences(data, record)]
    return Outcome(tuple(said), (picture(found), table(found)))


def curve(record: RunRecord, layer: int) -> tuple[list[int], list[int]]:
    """Epochs and the non-zeros at their ends; epoch 0 is the dense network."""
    epochs = [0] + [line["epoch"] for line in record.epochs]
    counts = [line["layers"][layer]["nonzero"] for line in record.epochs]
    return epochs, [record.epochs[0]["layers"][layer]["size"], *counts]


def bursts(epochs: list[int], counts: list[int], share: float = 0.1) -> list[Burst]:
    """Stretches over which the count rose without a fall, by more than `share` in all.

    Each begins where it begins to rise and ends where it has risen: epochs in which it stands still
    before and after do not belong to it.
    """
    found = []
    start = 0
    for i in range(1, len(counts) + 1):
        if i < len(counts) and counts[i] >= counts[i - 1]:
            continue
        before, after = counts[start], counts[i - 1]
        if after > (1 + share) * before:
            stretch = counts[start:i]
            first = start + stretch.count(before) - 1
            found.append(Burst(epochs[first], epochs[start + stretch.index(after)], before, after))
        start = i
    return found


def reference_lines(record: RunRecord) -> dict[str, int]:
    """First-layer weights of S-CONV and S-LOCAL of the same α; the same units, fewer weights."""
    image = tuple(record.resolved["image"])
    classes, alpha = int(record.resolved["classes"]), int(record.resolved["alpha"])
    sizes = record.result["layers"]
    others = sum(int(layer["size"]) for layer in sizes[1:])  # the same in all three networks
    return {
        name: models.parameter_count(model, image, classes, alpha) - others
        for name, model in (("S-CONV", "s-conv"), ("S-LOCAL", "s-local"))
    }


def picture(found: dict[str, RunRecord]) -> Picture:
    """Three panels, as in the paper; one line a dataset, the paper's end points as densities."""
    figure, panels = new_figure(9.6, 3.9, columns=3)
    longest = max(line["epoch"] for record in found.values() for line in record.epochs)
    for layer, axes in enumerate(panels):
        for index, (data, record) in enumerate(found.items()):
            epochs, counts = curve(record, layer)
            size = counts[0]
            axes.plot(epochs, counts, color=colour(index), linewidth=1.5, label=f"{data}, ours")
            axes.plot(
                [1.04 * longest],
                [size * published_density(data, layer)],
                color=colour(index),
                linestyle="none",
                marker="D",
                markersize=6,
                markerfacecolor="white",
                label=f"{data}, the paper's end (as a share of all)",
            )
            if layer == 2 or index == 0:
                axes.axhline(size, color=MUTED, linestyle=":", linewidth=1.0)
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        label_axes(
            axes,
            x="epoch",
            y="weights that are not zero" if layer == 0 else "",
            title=_LAYERS[layer],
        )
    for name, weights in reference_lines(next(iter(found.values()))).items():
        panels[0].axhline(weights, color="#c0392b", linestyle=(0, (5, 3)), linewidth=1.0)
        panels[0].annotate(
            name,
            (longest, weights),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=8,
            ha="right",
            color="#c0392b",
        )
    panels[0].annotate(
        "dense",
        (longest, curve(next(iter(found.values())), 0)[1][0]),
        xytext=(0, -10),
        textcoords="offset points",
        fontsize=8,
        ha="right",
        color=INK,
    )
    for axes in panels:
        two_decades(axes)
    legend_below(figure, columns=2)
    return Picture.of(
        figure,
        title="Weights left, by layer and epoch",
        name="figure3",
        description="Three panels: non-zero weights of S-FC's layers against the epoch.",
        note="Solid: ours; the hollow mark at the right: where the paper's curve ends, as the same"
        " share of all weights. Dashed red: the first layers of S-CONV and S-LOCAL of our α."
        " Dotted: all weights.",
    )


def table(found: dict[str, RunRecord]) -> Table:
    """What is left at the end, ours beside the paper's, by layer."""
    theirs = published.load("neyshabur2020")["fig3"]["final_nonzeros"]
    rows = []
    for data, record in found.items():
        for index, layer in enumerate(record.result["layers"]):
            rows.append(
                (
                    data,
                    _LAYERS[index],
                    f"{layer['nonzero']:,}",
                    wording.percent(layer["nonzero"] / layer["size"]),
                    f"{theirs[data][index]:,}",
                    wording.percent(published_density(data, index)),
                )
            )
    columns = ("data", "layer", "non-zeros: ours", "of all", "the paper", "of all")
    return Table(
        "What is left at the end",
        columns,
        tuple(rows),
        note="The paper's shares are of an S-FC of α = 230 with 25α hidden units, as its reference"
        " lines have it; it does not say what the curves belong to."
        f" {chosen_settings.note(found.values())}",
    )


def published_density(data: str, layer: int) -> float:
    """The paper's last count over the weights of that layer at its α."""
    theirs = published.load("neyshabur2020")["fig3"]["final_nonzeros"][data][layer]
    return float(theirs) / _paper_layers(data)[layer]


def sentences(data: str, record: RunRecord) -> list[str]:
    """What is left of the first layer, beside S-CONV's and S-LOCAL's, and its bursts."""
    epochs, counts = curve(record, 0)
    lines = reference_lines(record)
    end = counts[-1]
    theirs = published.load("neyshabur2020")["fig3"]
    ratio = theirs["final_nonzeros"][data][0] / theirs["reference_lines"]["layer1_s_conv"]
    said = [
        f"{data}: of {counts[0]:,} first-layer weights {end:,} are left"
        f" ({wording.percent(end / counts[0])}), {wording.times(end / lines['S-CONV'])} as many as"
        f" S-CONV's {lines['S-CONV']:,} (the paper: {wording.times(ratio)}); S-LOCAL's has"
        f" {lines['S-LOCAL']:,}."
    ]
    found = bursts(epochs, counts)
    if found:
        largest = max(found, key=lambda burst: burst.after - burst.before)
        said.append(
            f"{data}: bursts of regrowth: {len(found)} of more than 10 %, the largest in epochs"
            f" {largest.first} to {largest.last}, from {largest.before:,} weights to"
            f" {largest.after:,}."
        )
    else:
        said.append(
            f"{data}: no bursts of regrowth, unlike in the paper: nowhere do first-layer weights"
            " rise by more than 10 % without a fall between."
        )
    layers: list[dict[str, Any]] = record.result["layers"]
    second, last = (layer["nonzero"] / layer["size"] for layer in layers[1:])
    said.append(
        f"{data}: {wording.percent(second)} of the second layer and {wording.percent(last)} of the"
        f" last are left (the paper: {wording.percent(published_density(data, 1))} and"
        f" {wording.percent(published_density(data, 2))})."
    )
    return said


def _paper_layers(data: str) -> tuple[int, int, int]:
    """All weights of the three layers; the last two are lines of the paper's figure."""
    lines = published.load("neyshabur2020")["fig3"]["reference_lines"]
    last = lines["layer3_100_classes" if data == "cifar100" else "layer3_10_classes"]
    return 3 * 32**2 * 16**2 * _PAPER_ALPHA, lines["layer2_dense"], last


EXPERIMENT = Experiment(
    name="figure3",
    title="Figure 3: non-zero weights of S-FC's layers over the epochs",
    source="Neyshabur 2020, Figure 3",
    datasets=("cifar10", "cifar100", "svhn"),
    reproduce=reproduce,
    laptop_minutes=13,
)
