"""Figure 2: the weights that WeightNet and LocalNet learn from the binary tree without noise.

The runs are Figure 1's at ε = 0. Weights are compared with the tree's modulo what no data can tell
apart: a cyclic shift and signs (`analysis.recovered_weights`). The published code draws |w| as it
stands, which hides signs; `published_code` draws that.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from scratchconv import analysis
from scratchconv.data.tree import draw_theta
from scratchconv.experiments import figures
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.zhang.read_off import FIGURE2
from scratchconv.experiments.zhang.tree_runs import NETWORKS, Place, places, runs
from scratchconv.lab import Lab, Outcome, Picture, RunRecord, Table
from scratchconv.lab.lab import measured
from scratchconv.training import load_model, load_run

RECOVERED = 0.1
"""Weights this near to the tree's, as a share of their norm, count as recovered."""

_DRAWN = ("weight", "local")
_TINY = 1e-30

Found = Mapping[str, Mapping[Place, Sequence[RunRecord]]]
"""Records by network and place, one a trial."""


def reproduce(lab: Lab, *, published_code: bool = False) -> Outcome:
    """Measure every WeightNet and LocalNet of ε = 0; draw the weights of two trials."""
    clean = [place for place in places(lab) if place.noise == 0]
    wanted = {
        (network, place): runs(lab, place, network, published_code=published_code)
        for network in _DRAWN
        for place in clean
    }
    configs = {name: run for trials in wanted.values() for name, run in trials.items()}
    records = lab.train(configs, measure=recovery)
    found: dict[str, dict[Place, list[RunRecord]]] = {network: {} for network in _DRAWN}
    for (network, place), trials in wanted.items():
        found[network][place] = [records[name] for name in trials if not records[name].failure]
    shown = [place for place in clean if place.samples in FIGURE2] or clean[-2:]
    return Outcome(
        (*sentences(found), difference(published_code)),
        (histograms(found, shown, published_code), curves(found), table(found)),
    )


def recovery(directory: Path, data_dir: Path | None) -> dict[str, Any]:
    """How near the weights are to the tree's, by level, and the first level's, aligned."""
    theta = draw_theta(load_run(directory).config["data_seed"])
    levels = analysis.recovered_weights(load_model(directory), theta)
    return {
        "theta": [round(value, 5) for value in theta[0].tolist()],
        "relative_errors": [round(level.relative_error, 6) for level in levels],
        "left": [round(value, 5) for value in levels[0].left.tolist()],
        "right": [round(value, 5) for value in levels[0].right.tolist()],
    }


def first_level(record: RunRecord) -> float:
    """The relative error of the first level's weights."""
    return float(measured(record, recovery)["relative_errors"][0])


def up_to_scale(record: RunRecord, network: str) -> float:
    """The relative error of the first level's weights at their best scale.

    WeightNet, which shares its weights over the level, has one scale; LocalNet has one a unit.
    """
    values = measured(record, recovery)
    weights = np.array([values["left"], values["right"]]).T
    true = np.array(values["theta"])
    if network == "weight":
        of_true = float(weights[0] @ true) / float(np.linalg.norm(true))
        missed = 1 - of_true**2 / max(float((weights**2).sum()), _TINY)
    else:
        of_units = weights @ true / float(np.linalg.norm(true))
        missed = float((1 - of_units**2 / np.maximum((weights**2).sum(axis=1), _TINY)).mean())
    return math.sqrt(max(0.0, missed))


def sentences(found: Found) -> list[str]:
    """How many trials recover the tree at the largest size, and whether samples help."""
    said = []
    for network, by_place in found.items():
        line = sorted((p for p in by_place if by_place[p]), key=lambda place: place.samples)
        if not line:
            said.append(f"{NETWORKS[network]}: no trial ended with finite weights.")
            continue
        errors = {p: [first_level(record) for record in by_place[p]] for p in line}
        first, last = line[0], line[-1]
        near, scaled = (
            sum(error <= RECOVERED for error in found_)
            for found_ in (
                errors[last],
                [up_to_scale(record, network) for record in by_place[last]],
            )
        )
        before, after = (statistics.median(errors[place]) for place in (first, last))
        change = "falls" if after < before else "does not fall"
        published = FIGURE2.get(last.samples)
        theirs = (
            f" (the paper's trial: {published.relative_error[network]:#.2g})" if published else ""
        )
        said.append(
            f"{NETWORKS[network]}: the relative error of its first level {change} from"
            f" {_middle(errors[first])} at {first.samples:,} samples to {_middle(errors[last])} at"
            f" {last.samples:,}{theirs}; {near} of {len(errors[last])} trials there recover it to"
            f" within {100 * RECOVERED:.0f} %, {scaled} up to scale."
        )
    return said


def difference(published_code: bool) -> str:
    """What is drawn, in words."""
    if published_code:
        return (
            "As the published code: the histograms are of |w|, without regard to shift. The runs"
            " are the text's, for without noise the two are the same."
        )
    return (
        "Weights are aligned with the tree's by the cyclic shift and the signs that come nearest,"
        " all levels together. Up to scale: where its inputs are small tanh is nearly linear, and a"
        " level can leave its scale to the next. The published histograms are of |w|, which"
        " --as-published-code draws."
    )


def histograms(found: Found, shown: Sequence[Place], published_code: bool = False) -> Picture:
    """As in the paper: a row for a size, WeightNet left, LocalNet right, both inputs of a pair."""
    figure, panels = figures.new_figure(9.6, 2.4 * len(shown) + 0.5, columns=4, rows=len(shown))
    for row, place in enumerate(shown):
        for column, (network, side) in enumerate((n, s) for n in _DRAWN for s in (0, 1)):
            axes = panels[4 * row + column]
            name = f"{NETWORKS[network]}, θ₁{'₁₂'[side]}"
            figures.label_axes(
                axes,
                x=("|weight|" if published_code else "weight, aligned")
                if place == shown[-1]
                else "",
                y=f"weights, {place.samples:,} samples" if column == 0 else "",
                title=name if row == 0 else "",
            )
            records = found[network][place]
            if not records:
                continue
            values = measured(records[0], recovery)
            weights = np.array(values["left" if side == 0 else "right"])
            weights = np.abs(weights) if published_code else weights
            true = values["theta"][side]
            low, high = min(0.0, true, weights.min()), max(0.0, true, weights.max())
            axes.hist(
                weights,
                bins=np.linspace(low, high, 21).tolist(),
                color=figures.colour(column // 2),
                alpha=0.85,
            )
            axes.axvline(
                true, color=figures.INK, linestyle="--", linewidth=1.2, label="the tree's θ"
            )
            axes.set_ylim(0, 34)
    figures.legend_below(figure)
    what = "absolute values" if published_code else "modulo cyclic shift and signs"
    return Picture.of(
        figure,
        title="First-level weights of one trial",
        name="zhang_tree_weights",
        description=f"Histograms of the first level's weights of WeightNet and LocalNet, {what}.",
        note=f"The first trial of each size, {what}; 32 weights a panel. Recovered, WeightNet has"
        " one weight at the dashed line and 31 at zero, LocalNet all 32 at the line. Every"
        " trial has a tree of its own, and the paper's had others.",
    )


def curves(found: Found) -> Picture:
    """The relative error of the first level against samples, every trial a point."""
    figure, (axes,) = figures.new_figure(6.4, 3.8)
    for index, (network, by_place) in enumerate(found.items()):
        line = sorted((p for p in by_place if by_place[p]), key=lambda place: place.samples)
        sizes = [place.samples for place in line]
        errors = [[first_level(record) for record in by_place[place]] for place in line]
        for size, values in zip(sizes, errors, strict=True):
            axes.plot([size] * len(values), values, ".", color=figures.colour(index), alpha=0.5)
        axes.plot(
            sizes,
            [statistics.median(values) for values in errors],
            color=figures.colour(index),
            marker=figures.marker(index),
            markersize=4.5,
            label=f"{NETWORKS[network]}, median",
        )
        for size, trial in FIGURE2.items():
            if size in sizes:  # one trial each: two points, no line
                figures.draw_published(
                    axes,
                    [size],
                    [trial.relative_error[network]],
                    index=index,
                    label=f"{NETWORKS[network]}, the paper's trial",
                )
    axes.axhline(RECOVERED, color=figures.MUTED, linestyle=":", linewidth=1.0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({place.samples for by_place in found.values() for place in by_place})
    axes.set_xticks(ticks, [f"{size}" for size in ticks])
    figures.label_axes(axes, x="training samples", y="relative error of the first level")
    figures.legend_below(figure, columns=2)
    return Picture.of(
        figure,
        title="How near the weights come to the tree's",
        name="zhang_tree_recovery",
        description="Relative error of first-level weights against training samples.",
        note=f"Not up to scale; 1 is as good as all zeros, dotted is {RECOVERED:g}. Points are"
        " trials.",
    )


def table(found: Found) -> Table:
    """Errors by size: of the first level, of the worst level, and on test data."""
    rows = []
    for network, by_place in found.items():
        for place, records in by_place.items():
            if not records:
                continue
            levels = [measured(record, recovery)["relative_errors"] for record in records]
            published = FIGURE2.get(place.samples)
            rows.append(
                (
                    NETWORKS[network],
                    f"{place.samples:,}",
                    str(len(records)),
                    _middle([errors[0] for errors in levels]),
                    _middle([up_to_scale(record, network) for record in records]),
                    f"{published.relative_error[network]:#.2g}" if published else "–",
                    _middle([max(errors) for errors in levels]),
                    f"{sum(max(errors) <= RECOVERED for errors in levels)}",
                    _middle([record.loss("test") for record in records]),
                    f"{published.mse[network]:#.2g}" if published else "–",
                )
            )
    return Table(
        "Weights against the tree's, without noise",
        (
            "network",
            "samples",
            "trials",
            "first level, relative error",
            "up to scale",
            "the paper's trial, not up to scale",
            "worst level",
            f"trials with all levels within {RECOVERED:g}",
            "test error",
            "the paper's trial",
        ),
        tuple(rows),
        note="Medians over trials; of two trials both. Up to scale: the first level's weights times"
        " what brings them nearest, one number for WeightNet, one a unit for LocalNet. The paper's"
        " relative errors are of the weights its notebook prints, the first level aligned by"
        " itself.",
    )


def _middle(values: Sequence[float]) -> str:
    """The median; of two trials both numbers, for neither is in the middle."""
    shown = values if len(values) == 2 else [statistics.median(values)]
    return " and ".join(f"{value:#.2g}" for value in shown)


EXPERIMENT = Experiment(
    name="zhang-tree-weights",
    title="Binary tree: are its weights recovered?",
    source="Zhang 2021, Figure 2",
    datasets=("tree",),
    reproduce=reproduce,
    laptop_minutes=13,
)
AS_PUBLISHED_CODE = Experiment(
    name="zhang-tree-weights-as-published-code",
    title="Binary tree, as the published code: are its weights recovered?",
    source="Zhang 2021, Figure 2",
    datasets=("tree",),
    reproduce=partial(reproduce, published_code=True),
    laptop_minutes=13,
)
