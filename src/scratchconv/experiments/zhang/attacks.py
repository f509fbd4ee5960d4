"""Table 2: what the fast gradient sign method leaves of the accuracy; Figures 4 and 5: its images.

The networks are Figure 3's of 1,000 and 10,000 samples, so that after it this costs the attacks
alone, seconds a run. ε is 0.1 on MNIST and 0.01 on CIFAR-10 in units of pixels in [0, 1], as
`analysis.fgsm` takes it, for that is how an image is stored; the published code takes it in units
of [−1, 1], half of that. ConvNet and FCNet are in the published notebooks only.
"""

from __future__ import annotations

import base64
import io
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.image import imread

from scratchconv import published
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.figures import INK, MUTED, new_figure
from scratchconv.experiments.mean_difference import MeanDifference, mean_difference
from scratchconv.experiments.zhang.attack_measures import (
    attack,
    attack_halved,
    images,
    images_halved,
)
from scratchconv.experiments.zhang.image_runs import (
    NETWORKS,
    Size,
    attacked_sizes,
    difference,
    runs,
    samples,
)
from scratchconv.lab import Lab, Outcome, Picture, RunRecord, Table, mean_and_deviation
from scratchconv.lab.lab import measured
from scratchconv.report.wording import fixed, signed

_PICTURED = ("weight", "local")
_ALIKE = 2.0
"""Points that two of the paper's losses may differ by for nothing: of how many trials is unknown.
"""

Found = Mapping[tuple[str, Size, str], Sequence[RunRecord]]
"""Records by dataset, size and network, one a trial."""


def reproduce(lab: Lab, *, published_code: bool = False) -> Outcome:
    """Train, attack, and draw what became of the first test images."""
    measure = attack_halved if published_code else attack
    show = images_halved if published_code else images
    drawn = attacked_sizes(lab, published_code=published_code)
    wanted = {
        (data, size, network): runs(lab, data, size, network, published_code=published_code)
        for data in lab.datasets
        for size in drawn
        for network in NETWORKS
    }
    configs = {name: run for trials in wanted.values() for name, run in trials.items()}
    records = lab.train(configs, measure=measure)
    found = {
        place: [records[name] for name in trials if not records[name].failure]
        for place, trials in wanted.items()
    }
    scores = {
        place: [measured(record, measure) for record in of] for place, of in found.items() if of
    }
    pictured = {
        (data, network): next(iter(wanted[data, drawn[-1], network]))
        for data in lab.datasets
        for network in _PICTURED
    }
    shown = lab.train({name: configs[name] for name in pictured.values()}, measure=show)
    a_class = " a class" if published_code else ""
    pictures = [
        picture(
            data,
            f"{drawn[-1].label:,} samples{a_class}",
            {n: measured(shown[pictured[data, n]], show) for n in _PICTURED},
        )
        for data in lab.datasets
        if not any(shown[pictured[data, network]].failure for network in _PICTURED)
    ]
    said = [s for data in lab.datasets for s in sentences(data, drawn, scores, a_class)]
    return Outcome(
        (*said, difference(published_code=published_code, attacked=True)),
        (
            table(
                scores,
                {
                    (data, size): samples(lab, data, size, published_code=published_code)
                    for data in lab.datasets
                    for size in drawn
                },
            ),
            *pictures,
        ),
    )


Scores = Mapping[tuple[str, Size, str], Sequence[Mapping[str, float]]]
"""What `attack` measured, by dataset, size and network, one a trial."""


def published_row(data: str, size: Size, network: str) -> tuple[float, float] | None:
    """Accuracy before and after in the paper or its notebooks, in percent."""
    source = published.load("zhang2021")
    for row in (*source["table2"], *source["table2_rows_only_in_the_published_notebooks"]):
        if (row["dataset"], row["n_train"], row["model"]) == (data, size.label, f"{network}net"):
            return 100 * row["clean"], 100 * row["adversarial"]
    return None


def loss_of(clean: float, adversarial: float) -> float:
    """The share of right answers that the attack takes, in percent."""
    return 100 * (clean - adversarial) / clean if clean else 0.0


def sentences(data: str, drawn: Sequence[Size], scores: Scores, a_class: str = "") -> list[str]:
    """Whether WeightNet or LocalNet is more robust, and whether samples make them so.

    `a_class`: what a size is of, where that is not samples in all.
    """
    said = []
    measured_at = [
        size for size in drawn if all(scores.get((data, size, network)) for network in _PICTURED)
    ]
    for size in measured_at:
        of = {network: scores[data, size, network] for network in _PICTURED}
        lost = {network: statistics.mean(_losses(of[network])) for network in _PICTURED}
        clean = {n: 100 * statistics.mean(score["clean"] for score in of[n]) for n in _PICTURED}
        apart = mean_difference(_losses(of["local"]), _losses(of["weight"]))
        rows = [published_row(data, size, network) for network in _PICTURED]
        said.append(
            f"{data}, {size.label:,} samples{a_class}: the attack takes"
            f" {fixed(lost['weight'], 0)} % of WeightNet's right answers ({clean['weight']:.1f} %)"
            f" and {fixed(lost['local'], 0)} % of LocalNet's ({clean['local']:.1f} %):"
            f" {_who_loses_more(apart)}"
            f"{_in_the_paper(apart, [None if row is None else loss_of(*row) for row in rows])}."
        )
    if len(measured_at) > 1:
        first, last = measured_at[0], measured_at[-1]
        changes = {
            NETWORKS[n]: mean_difference(
                _losses(scores[data, last, n]), _losses(scores[data, first, n])
            )
            for n in _PICTURED
        }
        said.append(
            f"{data}: from {first.label:,} to {last.label:,} samples{a_class} that share changes"
            f" by: {', '.join(f'{name} {change}' for name, change in changes.items())}."
        )
    return said


def _losses(scores: Sequence[Mapping[str, float]]) -> list[float]:
    """What the attack takes of each trial's right answers, in percent."""
    return [loss_of(score["clean"], score["adversarial"]) for score in scores]


def _who_loses_more(apart: MeanDifference) -> str:
    """`apart`: LocalNet's loss less WeightNet's."""
    if not apart.separated:
        return f"the trials do not tell them apart, {apart}"
    return f"{'LocalNet' if apart.mean > 0 else 'WeightNet'} loses more, {apart}"


def _in_the_paper(apart: MeanDifference, losses: Sequence[float | None]) -> str:
    weight, local = losses
    if weight is None or local is None:
        return ""
    takes = f"it takes {fixed(weight, 0)} and {fixed(local, 0)} %"
    if not apart.separated:
        return f"; in the paper {takes}"
    same = abs(local - weight) >= _ALIKE and (local > weight) == (apart.mean > 0)
    return f"; {'and so' if same else 'not so'} in the paper, where {takes}"


def table(scores: Scores, in_all: Mapping[tuple[str, Size], int]) -> Table:
    """Accuracy before and after, in percent; the change as in the paper, a share of the former.

    `in_all`: the samples behind a size.
    """
    rows = []
    for (data, size, network), of in scores.items():
        row = published_row(data, size, network)
        theirs = ("–", "–", "–")
        if row is not None:
            theirs = (
                f"{row[0]:.2f}",
                f"{row[1]:.2f}",
                f"{signed(-loss_of(*row), 0)} %",
            )
        clean, adversarial = (
            mean_and_deviation([100 * score[name] for score in of])
            for name in ("clean", "adversarial")
        )
        rows.append(
            (
                data,
                f"{size.label:,}",
                f"{in_all[data, size]:,}",
                NETWORKS[network] + ("" if network in _PICTURED else " (notebooks only)"),
                str(len(of)),
                clean,
                theirs[0],
                adversarial,
                theirs[1],
                f"{signed(-statistics.mean(_losses(of)), 0)} %",
                theirs[2],
            )
        )
    epsilons = {data: of[0]["epsilon"] for (data, _, _), of in scores.items()}
    said = ", ".join(f"{epsilon:g} on {data}" for data, epsilon in epsilons.items())
    return Table(
        "Accuracy in percent, as they are and after the attack",
        (
            "data",
            "size",
            "samples in all",
            "network",
            "trials",
            "original: ours",
            "the paper",
            "adversarial: ours",
            "the paper",
            "change: ours",
            "the paper",
        ),
        tuple(rows),
        note="Change: what the attack takes, as a share of the accuracy without it; ours is the"
        f" mean over trials. ε in units of pixels in [0, 1]: {said}. ConvNet and FCNet are not in"
        " the paper's table; their numbers beside ours are those of its notebooks.",
    )


def picture(data: str, trained_on: str, shown: Mapping[str, Mapping[str, Any]]) -> Picture:
    """As in the paper: originals, then what the attack on each network makes of them.

    `trained_on`: how many samples, in words.
    """
    figure, panels = new_figure(9.6, 1.75 * (len(shown) + 1), rows=len(shown) + 1)
    any_network = next(iter(shown.values()))
    lines = [("original", any_network["before"], any_network["true"], any_network["true"])]
    for network, of in shown.items():
        lines.append(
            (f"after the attack on {NETWORKS[network]}", of["after"], of["read_after"], of["true"])
        )
    for axes, (title, png, names, true) in zip(panels, lines, strict=True):
        row = np.asarray(imread(io.BytesIO(base64.b64decode(png))))
        axes.imshow(row, interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(title, fontsize=10, color=INK, loc="left", pad=20)
        width = (row.shape[1] + 1) / len(names)
        for k, (name, right) in enumerate(zip(names, true, strict=True)):
            wrong = name != right
            axes.annotate(
                name,
                ((k + 0.5) * width - 1, 0),
                xytext=(0, 4),
                textcoords="offset points",
                fontsize=8,
                ha="center",
                va="bottom",
                color="#b3261e" if wrong else MUTED,
                weight="bold" if wrong else "normal",
            )
    epsilon = any_network["epsilon"]
    return Picture.of(
        figure,
        title=f"Adversarial images of {data}",
        name=f"zhang_attacks_{data}",
        description=f"Test images of {data}, as they are and after attacks on two networks.",
        note=f"The first {len(any_network['true'])} test images; ε = {epsilon:g} in units of pixels"
        f" in [0, 1], networks of {trained_on}. Above an image: its class, and then what"
        " the network reads the attacked image as, in red where that is wrong.",
    )


EXPERIMENT = Experiment(
    name="zhang-attacks",
    title="MNIST and CIFAR-10: accuracy under the fast gradient sign method",
    source="Zhang 2021, Table 2, Figures 4 and 5",
    datasets=("mnist", "cifar10"),
    reproduce=reproduce,
    laptop_minutes=15,
)
AS_PUBLISHED_CODE = Experiment(
    name="zhang-attacks-as-published-code",
    title="MNIST and CIFAR-10, as the published code: accuracy under the fast gradient sign method",
    source="Zhang 2021, Table 2, Figures 4 and 5",
    datasets=("mnist", "cifar10"),
    reproduce=partial(reproduce, published_code=True),
    laptop_minutes=80,
)
