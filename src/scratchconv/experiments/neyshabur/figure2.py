"""Figures 2 and 6: accuracy against size, four networks; and the fewest weights that fit the data.

The paper has 16 sizes from 0.032 M to 1024 M weights and 400 epochs: here the scale's shorter
length. At `laptop` those are 10 epochs, one seed, and every other size up to 8 M (D-CONV: 2 M,
ResNet18: 0.512 M, whose step takes a second already).

Rate, momentum and weight decay are chosen once a network, on validation data of the first dataset,
at one size in the middle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from scratchconv import published
from scratchconv.experiments import chosen_settings, settings
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.figures import (
    draw_ours,
    draw_published,
    label_axes,
    legend_below,
    new_figure,
)
from scratchconv.experiments.finished_runs import finished
from scratchconv.experiments.neyshabur.figure2_right import (
    NETWORKS,
    Curve,
    Found,
    all_records,
    fewest_picture,
    fewest_table,
    weights_of,
)
from scratchconv.lab import Lab, Outcome, Picture, Table, augmentation
from scratchconv.report.wording import plural, ranked
from scratchconv.training import RunConfig


@dataclass(frozen=True)
class Sizes:
    """Budgets of weights in millions; `most` of a network; `choosing`: where settings are chosen.

    `seeds`: how many of the scale's.
    """

    millions: tuple[float, ...]
    most: dict[str, float]
    choosing: float
    seeds: int = 1

    def of(self, model: str) -> tuple[float, ...]:
        """The sizes of one network."""
        return tuple(size for size in self.millions if size <= self.most.get(model, size))


# The paper's curves begin at 0.032 M, its fewest weights that fit at 0.008 M.
_PAPER = (
    *(0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512),
    *(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)
SIZES = {
    "smoke": Sizes((0.004, 0.008), {"resnet18": 0.004, "d-conv": 0.004}, 0.004),
    "laptop": Sizes((0.032, 0.128, 0.512, 2, 8), {"resnet18": 0.512, "d-conv": 2}, 0.128),
    "ee411": Sizes((0.032, 0.128, 0.512, 2, 8, 32), {"resnet18": 8}, 0.512),
    "paper": Sizes(_PAPER, {"resnet18": 128, "d-conv": 256}, 8, seeds=3),
}


def reproduce(lab: Lab) -> Outcome:
    """Train all sizes of all networks, draw both figures."""
    tried = _candidates(lab)
    chosen = lab.choose(tried)
    found = runs(lab, chosen)
    epochs = lab.scale.short
    pictures = (
        curves(found, "test", epochs),
        curves(found, "train", epochs),
        fewest_picture(found, epochs),
    )
    said = [sentence for data in lab.datasets for sentence in sentences(data, found[data])]
    said += settings.at_the_edge(
        lab.datasets[0], {network: (tried[model], chosen[model]) for network, model in NETWORKS}
    )
    return Outcome(tuple(said), (*pictures, table(found), fewest_table(found)))


def _candidates(lab: Lab) -> dict[str, list[RunConfig]]:
    """What every network chooses its settings from, at one size."""
    size = SIZES[lab.scale.name].choosing
    return {
        model: settings.sgd(lab.scale, _config(lab, model, lab.datasets[0], size))
        for _, model in NETWORKS
    }


def runs(lab: Lab, chosen: Mapping[str, RunConfig]) -> Found:
    """All runs with the settings `chosen`; those whose loss became infinite are left out."""
    sizes = SIZES[lab.scale.name]
    points = [
        (data, network, model, millions)
        for network, model in NETWORKS
        for data in lab.datasets
        for millions in sizes.of(model)
    ]
    made = lab.train_groups(
        {
            (data, model, millions): {
                f"{network} of {millions:g} M on {data}, seed {seed}": replace(
                    chosen[model],
                    data=lab.config(model, data).data,
                    params=millions * 1e6,
                    seed=seed,
                )
                for seed in lab.scale.seeds[: sizes.seeds]
            }
            for data, network, model, millions in points
        }
    )
    found: Found = {data: {model: {} for _, model in NETWORKS} for data in lab.datasets}
    for (data, model, millions), records in made.items():
        found[data][model][millions] = finished(records)
    return found


def curves(found: Found, split: str, epochs: int) -> Picture:
    """Accuracy against size, a panel a dataset; published curves dashed."""
    theirs = published.load("neyshabur2020")["fig2_fig6"]
    of_augmented = split == "train" and augmentation(all_records(found))
    figure, panels = new_figure(4.0 * len(found) + 0.4, 4.0, columns=len(found))
    for axes, (data, by_model) in zip(panels, found.items(), strict=True):
        for index, (network, model) in enumerate(NETWORKS):
            curve = by_model[model]
            draw_ours(
                axes,
                [weights_of(records, asked) for asked, records in curve.items()],
                [[record.accuracy(split) for record in records] for records in curve.values()],
                index=index,
                label=f"{network}, ours",
            )
            draw_published(
                axes,
                theirs["params_millions"],
                theirs[data][model][split],
                index=index,
                label=f"{network}, the paper",
            )
        axes.set_xscale("log")
        label_axes(axes, x="weights (millions)", title=data)
    label_axes(
        panels[0],
        x="weights (millions)",
        y=f"{_WORDS[split]} accuracy (%)",
        title=next(iter(found)),
    )
    legend_below(figure, columns=min(4, 2 * len(found)))
    return Picture.of(
        figure,
        title=f"{_WORDS[split].capitalize()} accuracy against size",
        name=f"figure2-{split}",
        description=f"Lines of {split} accuracy against weights, four networks, a panel a dataset.",
        note=f"Solid: ours, {plural(epochs, 'epoch')}, {_seeds(found)}; dashed: the paper, 400"
        " epochs, read off its figure."
        + (" Training accuracy is of augmented images." if of_augmented else ""),
    )


def table(found: Found) -> Table:
    """The numbers of the curves."""
    theirs = published.load("neyshabur2020")["fig2_fig6"]
    rows = []
    for data, by_model in found.items():
        for network, model in NETWORKS:
            for asked, records in by_model[model].items():
                row = [network, data, f"{weights_of(records, asked):.3g} M"]
                for split in ("train", "test"):
                    ours = [record.accuracy(split) for record in records]
                    row.append(f"{sum(ours) / len(ours):.2f} %" if ours else "no finite loss")
                    row.append(_published(theirs, data, model, split, asked))
                rows.append(tuple(row))
    return Table(
        "Accuracy by size",
        ("network", "data", "weights", "training: ours", "the paper", "test: ours", "the paper"),
        tuple(rows),
        note=chosen_settings.note(
            record
            for by_model in found.values()
            for curve in by_model.values()
            for records in curve.values()
            for record in records
        ),
    )


def sentences(data: str, by_model: dict[str, Curve]) -> list[str]:
    """Which network is best at each size, and whether the order is the paper's."""
    theirs = published.load("neyshabur2020")["fig2_fig6"]
    said = []
    everywhere = [
        size
        for size in dict.fromkeys(size for curve in by_model.values() for size in curve)
        if all(curve.get(size) for curve in by_model.values())
    ]
    for size in everywhere:
        means = {
            network: sum(r.accuracy() for r in by_model[model][size]) / len(by_model[model][size])
            for network, model in NETWORKS
        }
        our_order = sorted(means, key=lambda network: -means[network])
        verdict = ""
        if size in theirs["params_millions"]:
            at = theirs["params_millions"].index(size)
            models = dict(NETWORKS)
            their_order = sorted(
                models, key=lambda network: -theirs[data][models[network]]["test"][at]
            )
            verdict = (
                " (the paper's order)" if our_order == their_order else " (not the paper's order)"
            )
        said.append(f"{data}, {size:g} M weights: {ranked(means, '{:.2f}')}{verdict}.")
    return said


def _config(lab: Lab, model: str, data: str, millions: float) -> RunConfig:
    return lab.config(
        model,
        data,
        params=millions * 1e6,
        epochs=lab.scale.short,
        seed=lab.scale.seeds[0],
    )


def _published(theirs: dict[str, Any], data: str, model: str, split: str, size: float) -> str:
    if size not in theirs["params_millions"]:
        return "–"
    return f"{theirs[data][model][split][theirs['params_millions'].index(size)]:g} %"


def _seeds(found: Found) -> str:
    n = max(len(r) for by_model in found.values() for c in by_model.values() for r in c.values())
    return "one seed" if n == 1 else f"{n} seeds"


_WORDS = {"test": "test", "train": "training"}

EXPERIMENT = Experiment(
    name="figure2",
    title="Figures 2 and 6: accuracy against size, and the fewest weights that fit",
    source="Neyshabur 2020, Figures 2 and 6",
    datasets=("cifar10", "cifar100", "svhn"),
    reproduce=reproduce,
    laptop_minutes=71,
)
