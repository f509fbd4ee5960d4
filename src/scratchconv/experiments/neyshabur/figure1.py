"""Figure 1, right: how many weights the networks have, by formula and counted; nothing is trained.

The formulas are written down here as the paper has them and again as the layers give them, apart
from those that `models` counts by, so that a slip in either shows. Networks are built without
memory for their weights, and every weight matrix and filter bank is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import nn

from scratchconv import models
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.figures import colour, label_axes, legend_below, marker, new_figure
from scratchconv.lab import Lab, Outcome, Picture, Table
from scratchconv.nn import LocallyConnected2d

Formula = Callable[[float, float, float], float]
"""(α, image side s, classes c) to a number of weights, for images of three channels."""


@dataclass(frozen=True)
class Row:
    """A network, its count as its layers give it, and as the paper prints it.

    `alpha` is that of Table 1; of 3-FC and ResNet18, the number of units and the usual width.
    `printed` is None where the paper prints no formula.
    """

    title: str
    model: str
    alpha: int
    exact: Formula
    text: str
    printed: Formula | None = None
    printed_text: str = ""


def _s_row(title: str, model: str, linear: Callable[[float], float], linear_text: str) -> Row:
    """A network of the S family, whose printed formula is exact; `linear` is its α¹ term."""

    def formula(a: float, s: float, c: float) -> float:
        return 6 * s**2 * a**2 + (linear(s) + 24 * c) * a

    text = f"6s²α² + ({linear_text} + 24c)α"
    return Row(title, model, 150, formula, text, formula, text)


ROWS = (
    Row(
        "D-CONV",
        "d-conv",
        15,
        lambda a, s, c: (9 * 254 + 4 * s**2) * a**2 + (27 + 64 * c) * a,
        "(9·254 + 4s²)α² + (27 + 64c)α",
        lambda a, s, c: (9 * 2**8 + 4 * s**2) * a**2 + (27 + 64 * c) * a,
        "(9·2⁸ + 4s²)α² + (27 + 64c)α",
    ),
    Row(
        "D-LOCAL",
        "d-local",
        15,
        lambda a, s, c: (45 + 4) * s**2 * a**2 + (27 * s**2 + 64 * c) * a,
        "(45s² + 4s²)α² + (27s² + 64c)α",
    ),
    Row(
        "D-FC",
        "d-fc",
        15,
        lambda a, s, c: (127 * s**4 / 128 + 4 * s**2) * a**2 + (3 * s**4 + 64 * c) * a,
        "(127s⁴/128 + 4s²)α² + (3s⁴ + 64c)α",
        lambda a, s, c: (s**4 + 4 * s**2) * a**2 + (3 * s**4 + 64 * c) * a,
        "(s⁴ + 4s²)α² + (3s⁴ + 64c)α",
    ),
    _s_row("S-CONV", "s-conv", lambda s: 243, "243"),
    _s_row("S-LOCAL", "s-local", lambda s: 243 * s**2 / 4, "243s²/4"),
    _s_row("S-FC", "s-fc", lambda s: 3 * s**4 / 4, "3s⁴/4"),
    Row(
        "3-FC, α units a layer",
        "3-fc",
        14_533,
        lambda a, s, c: a**2 + (3 * s**2 + c) * a,
        "α² + (3s² + c)α",
    ),
    Row(
        "ResNet18, kernels 3×3",
        "resnet18",
        64,
        # 3×3 convolutions of the four stages, and three 1×1 shortcuts; stem and classifier.
        lambda a, s, c: (9 * (4 + 14 + 56 + 224) + (2 + 8 + 32)) * a**2 + (27 + 8 * c) * a,
        "2724α² + (27 + 8c)α",
    ),
)
CLASSES = 10
ALPHAS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SIDES = (16, 32, 48, 64, 96, 128, 224)
_DRAWN = ROWS[:6]
_FP16_V100 = 16e9 / (2 * 2)
"""Weights that a GPU of 16 GB holds beside their gradients, both of 16 bits: the paper's limit."""


def reproduce(lab: Lab) -> Outcome:
    """Count, compare with the formulas, draw both."""
    counts = {
        row.model: {
            point: counted(row.model, *point)
            for point in [(a, 32) for a in (*ALPHAS, row.alpha)] + [(row.alpha, s) for s in SIDES]
        }
        for row in ROWS
    }
    return Outcome(sentences(counts), (picture(counts), table(counts)))


def counted(model: str, alpha: int, side: int) -> int:
    """Weights of a built network: every matrix and filter bank, no bias, no BatchNorm."""
    with torch.device("meta"):  # shapes without memory: 224² pixels fully connected fit nowhere
        network = models.build(model, image=(3, side, side), classes=CLASSES, alpha=alpha)
    kinds = (nn.Linear, nn.Conv2d, LocallyConnected2d)
    return sum(m.weight.numel() for m in network.modules() if isinstance(m, kinds))


Counts = dict[str, dict[tuple[int, int], int]]
"""Counted weights by network and (α, image side)."""


def sentences(counts: Counts) -> tuple[str, ...]:
    """How far the formulas are from what was counted."""
    said = []
    points = sum(len(of) for of in counts.values())
    wrong = [row for row in ROWS if _largest_error(row.exact, counts[row.model]) > 0]
    said.append(
        f"{points} networks of {len(ROWS)} kinds were counted: the formulas of their layers"
        + (
            " give every count exactly."
            if not wrong
            else f" miss some counts of {', '.join(row.title for row in wrong)}."
        )
    )
    for row in ROWS:
        if row.printed is None:
            continue
        error = _largest_error(row.printed, counts[row.model])
        if error:
            said.append(
                f"{row.title}: the printed {row.printed_text} is up to {100 * error:.2g} % away,"
                f" for it rounds {row.text}."
            )
    exact = [
        row.title
        for row in ROWS
        if row.printed is not None and _largest_error(row.printed, counts[row.model]) == 0
    ]
    if exact:
        said.append(f"{', '.join(exact)}: the printed formulas are exact.")
    for model in ("d-fc", "s-fc", "s-local", "s-conv"):
        row = next(row for row in ROWS if row.model == model)
        low, high = counts[model][row.alpha, 64], counts[model][row.alpha, 128]
        said.append(
            f"{row.title}, α = {row.alpha}: from side 64 to 128 its weights grow as side to the"
            f" power {math.log2(high / low):.2f}."
        )
    return tuple(said)


def table(counts: Counts) -> Table:
    """Formulas, and the counts at the size of the paper's Table 1."""
    rows = []
    for row in ROWS:
        count = counts[row.model][row.alpha, 32]
        printed = None if row.printed is None else row.printed(row.alpha, 32, CLASSES)
        rows.append(
            (
                row.title,
                row.printed_text or "–",
                "the same" if row.text == row.printed_text else row.text,
                f"{row.alpha:,}",
                "–" if printed is None else f"{printed:,.0f}",
                f"{count:,}",
            )
        )
    return Table(
        "Weights at s = 32, c = 10",
        ("network", "the paper's formula", "from its layers", "α", "the paper's", "counted"),
        tuple(rows),
        note="Biases and BatchNorm are left out, as in the paper. Table 1 of the paper prints"
        " 3.42 M for D-LOCAL, and no α: at 15, which its 1.45 M of D-CONV needs, see the count.",
    )


def picture(counts: Counts) -> Picture:
    """Lines by the paper's formulas (those of the layers where it has none), marks as counted."""
    figure, (by_alpha, by_side) = new_figure(8.4, 4.3, columns=2)
    for index, row in enumerate(_DRAWN):
        of = counts[row.model]
        formula = row.printed or row.exact
        _line(by_alpha, ALPHAS, [formula(a, 32, CLASSES) for a in ALPHAS], index, row)
        _line(by_side, SIDES, [formula(row.alpha, s, CLASSES) for s in SIDES], index, row)
        _marks(by_alpha, ALPHAS, [of[a, 32] for a in ALPHAS], index)
        _marks(by_side, SIDES, [of[row.alpha, s] for s in SIDES], index)
    for axes, ticks in ((by_alpha, ALPHAS), (by_side, SIDES)):
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.axhline(_FP16_V100, color="black", linestyle=":", linewidth=1.0)
    by_alpha.annotate(
        "weights and gradients in fp16 fill 16 GB",
        (ALPHAS[0], _FP16_V100),
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=7,
    )
    label_axes(by_alpha, x="base channels α", y="weights", title="Images of side 32")
    label_axes(by_side, x="image side s (pixels)", title="α = 15 (D), 150 (S)")
    legend_below(figure, columns=6)
    return Picture.of(
        figure,
        title="Weights against base channels and image side",
        name="figure1",
        description="Two panels of lines with markers: weights against α, and against image side.",
        note="Lines: the paper's formulas (D-LOCAL's: from its layers). Marks: counted.",
    )


def _line(axes: Axes, x: Sequence[float], y: Sequence[float], index: int, row: Row) -> None:
    axes.plot(x, y, color=colour(index), linewidth=1.2)
    axes.plot([], [], color=colour(index), linewidth=1.2, **_shape(index), label=row.title)


def _marks(axes: Axes, x: Sequence[float], y: Sequence[float], index: int) -> None:
    axes.plot(x, y, linestyle="none", color=colour(index), **_shape(index))


def _shape(index: int) -> dict[str, Any]:
    # The first is drawn around the others: against α, D-CONV's and S-CONV's counts lie 4 to 6 %
    # from each other.
    size = 9.0 if index == 0 else 4.5
    face = "none" if index == 0 else "white"
    return {"marker": marker(index), "markersize": size, "markerfacecolor": face}


def _largest_error(formula: Formula, counts: dict[tuple[int, int], int]) -> float:
    return max(abs(formula(a, s, CLASSES) - n) / n for (a, s), n in counts.items())


EXPERIMENT = Experiment(
    name="figure1",
    title="Figure 1, right: weights against base channels and image side",
    source="Neyshabur 2020, Figure 1",
    datasets=(),
    reproduce=reproduce,
    laptop_minutes=0.2,
)
