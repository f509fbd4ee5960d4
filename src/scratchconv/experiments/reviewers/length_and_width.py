"""Accuracy against the length of training and the width of S-FC: is there a double descent?

SGD and β-LASSO at β = 50 on CIFAR-10, training and test accuracy at the last epoch of

- four lengths at half the scale's α: a third of its short length, the short one, half the long one,
  and twice the long one (3, 10, 20 and 80 epochs at `laptop`), every length with its own cosine;
- five widths at half the long length: α from a sixteenth of the scale's to all of it.

Without augmentation, which keeps networks of these sizes from ever fitting the training data: what
may fall and rise again does so about where they just fit it (Belkin et al., PNAS 116, 2019;
Nakkiran et al., ICLR 2020).

Chosen on validation accuracy: both methods' settings at half the scale's α and half its length L₀.
At another length L β-LASSO chooses from λ·(L₀/L)^p for p = 0, ½ and 1, where λ is what L₀ chose:
p = 0 keeps λ and p = 1 keeps λ·Ση, what shrinks a weight in all. So does SGD with its weight decay,
if it chose one. All widths have the settings of half α.

At `laptop`: three seeds, but one of the longest training.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from scipy.stats import studentized_range

from scratchconv import published
from scratchconv.experiments import chosen_settings, settings
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.finished_runs import finished
from scratchconv.experiments.half_size import half_alpha, half_length, half_size
from scratchconv.experiments.reviewers import cells
from scratchconv.experiments.reviewers.curves_figure import Curve, Panel, curves_figure
from scratchconv.lab import Lab, Outcome, Picture, RunRecord, Table, percent
from scratchconv.lab.scales import Scale
from scratchconv.report import wording
from scratchconv.report.wording import signed
from scratchconv.training import RunConfig

METHODS = ("SGD", "β-LASSO, β = 50")
_POWERS = (0.5, 0.0, 1.0)
# Training accuracy in percent from which on a network is said to fit its data.
_FITS = 99.0
_PUBLISHED = (400, 4000)
"""Epochs of the published S-FC by SGD."""


@dataclass(frozen=True)
class Point:
    """One length and width by one method, a record a seed."""

    method: str
    epochs: int
    alpha: int
    records: tuple[RunRecord, ...]

    def accuracies(self, split: str = "test") -> list[float]:
        """In percent, of the runs whose loss stayed finite."""
        return [record.accuracy(split) for record in finished(self.records)]

    @property
    def size(self) -> int:
        """Weights of the network, zeros included."""
        record = finished(self.records)[0]
        return sum(int(layer["size"]) for layer in record.result["layers"])


def lengths(scale: Scale) -> list[int]:
    """Epochs, ascending."""
    half = half_length(scale)
    return sorted({max(1, scale.short // 3), scale.short, half, 4 * half})


def widths(scale: Scale) -> list[int]:
    """α of S-FC, ascending."""
    half = half_alpha(scale)
    smaller = (max(1, half // part) for part in (8, 4, 2))
    return sorted({*smaller, half, scale.alpha["s-fc"]})


def reproduce(lab: Lab) -> Outcome:
    """Choose, train, and draw both curves."""
    data, scale = lab.datasets[0], lab.scale
    half = replace(half_size(lab, data), augment="none")
    candidates = zip(METHODS, (settings.sgd, settings.beta_lasso), strict=True)
    tried = {method: of(scale, half) for method, of in candidates}
    chosen = lab.choose(tried)
    at_length = lab.choose(
        {
            (method, epochs): _of_length(config, epochs)
            for method, config in chosen.items()
            for epochs in lengths(scale)
        }
    )
    lengths_ = {(method, n, half_alpha(scale)): run for (method, n), run in at_length.items()}
    widths_ = {
        (method, half.epochs, alpha): replace(config, alpha=alpha)
        for method, config in chosen.items()
        for alpha in widths(scale)
    }
    points = _points(lab, lengths_ | widths_)
    by_length = [points[of] for of in lengths_ if of in points]
    by_width = [points[of] for of in widths_ if of in points]
    theirs = published.load("neyshabur2020")["table1"]["s-fc"]
    sentences = [
        *described(by_length, lambda point: point.epochs, "epochs"),
        *described(by_width, lambda point: point.alpha, "α"),
        *settings.at_the_edge(data, {method: (tried[method], chosen[method]) for method in tried}),
    ]
    return Outcome(
        tuple(sentences),
        (
            _picture(by_length, by_width, data, theirs),
            table(
                by_length,
                "Accuracy by length of training",
                f"The paper's S-FC (256 M weights) by SGD, CIFAR-10: {theirs['cifar10_400']:g} %"
                f" after 400 epochs, {theirs['cifar10_4000']:g} % after 4000, with augmentation"
                " (Fast AutoAugment); ours have none.",
            ),
            table(
                by_width,
                "Accuracy by width",
                f"All widths have the settings that were chosen at α = {half_alpha(scale)}.",
            ),
        ),
    )


def _of_length(config: RunConfig, epochs: int) -> list[RunConfig]:
    """What there is to choose from at that length; one where λ or weight decay stays the same."""
    tried = (settings.of_length(config, epochs, power) for power in _POWERS)
    return list(dict.fromkeys(tried))


def _points(
    lab: Lab, configs: Mapping[tuple[str, int, int], RunConfig]
) -> dict[tuple[str, int, int], Point]:
    """Those with a finite run, by method, epochs and α."""
    groups = {}
    for (method, epochs, alpha), config in configs.items():
        runs = lab.seeds(f"α = {alpha}, {epochs} epochs by {method}", config)
        first = next(iter(runs.items()))
        groups[method, epochs, alpha] = dict([first]) if epochs > lab.scale.long else runs
    made = lab.train_groups(groups)
    return {of: Point(*of, tuple(r)) for of, r in made.items() if finished(r)}


def described(points: Sequence[Point], where: Callable[[Point], int], unit: str) -> list[str]:
    """One sentence a method: how test accuracy goes with length or width, and whether it dips.

    A fall counts where it is more than chance gives the largest of all differences of a curve in
    one of twenty (Tukey's range), by the deviation that the seeds of all `points` have about their
    means.
    """
    sentences = []
    deviation, freedom = _deviation(points)
    for method in METHODS:
        mine = [point for point in points if point.method == method]
        if len(mine) < 2:
            sentences.append(
                f"{method}: too few runs by {unit} ended with a finite loss to compare."
            )
            continue
        means = [cells.mean_accuracy(point.records) for point in mine]
        errors = [
            _tukey(len(mine), freedom) * deviation / math.sqrt(len(point.accuracies()))
            for point in mine
        ]
        values = ", ".join(
            f"{mean:.2f} at {where(point)}" for point, mean in zip(mine, means, strict=True)
        )
        fall = _fall(means, errors)
        if not freedom:
            shape = "one seed each, so that nothing can be said of a fall"
        elif not deviation:
            shape = "no seed differs from another, so that nothing can be said of a fall"
        elif fall is None:
            most = max(math.hypot(*pair) for pair in combinations(errors, 2))
            shape = (
                f"it never falls by more than seeds differ (up to {most:.1f} points): no double"
                " descent is seen"
            )
        else:
            high, low = fall
            after = range(low + 1, len(means))
            again = any(_is_below(low, later, means, errors) for later in after)
            shape = (
                f"it falls from {where(mine[high])} to {where(mine[low])}"
                f" ({signed(means[low] - means[high])}), and "
                + ("rises again after that: a double descent" if again else "does not rise again")
            )
        fits = [cells.mean_accuracy(point.records, "train") for point in mine]
        sentences.append(
            f"{method}, test accuracy in percent by {unit}: {values}; {shape}. Training accuracy"
            f" lies between {min(fits):.2f} and {max(fits):.2f}{_where_it_would_show(fits)}."
        )
    return sentences


def _where_it_would_show(fits: Sequence[float]) -> str:
    """A double descent is about where networks just fit the training data."""
    if max(fits) < _FITS:
        return ": none of them fits the data, about where a double descent would show"
    if min(fits) > _FITS:
        return (
            ": all of them fit the data, and a double descent would show about where they begin to"
        )
    return ""


def _deviation(points: Sequence[Point]) -> tuple[float, int]:
    """Standard deviation of a run about the mean of its seeds, pooled over all points.

    And its degrees of freedom, none where every point has one seed.
    """
    several = [found for point in points if len(found := point.accuracies()) > 1]
    freedom = sum(len(found) - 1 for found in several)
    squares = sum((len(found) - 1) * statistics.variance(found) for found in several)
    return (math.sqrt(squares / freedom), freedom) if freedom else (0.0, 0)


def _tukey(points: int, freedom: int) -> float:
    """Standard errors of a difference that one of so many points is rarely off another by.

    That is Tukey's and Kramer's: of all pairs any goes beyond it in one of twenty curves.
    """
    return float(studentized_range.ppf(0.95, points, freedom)) / math.sqrt(2) if freedom else 0.0


def _is_below(low: int, high: int, means: Sequence[float], errors: Sequence[float]) -> bool:
    """Whether one mean is below another by more than the errors of both, squares added."""
    return means[high] - means[low] > math.hypot(errors[low], errors[high])


def _fall(means: Sequence[float], errors: Sequence[float]) -> tuple[int, int] | None:
    """From where to where accuracy falls most; first of all by a fall that it rises from again."""
    every = range(len(means))
    falls = [(i, j) for j in every for i in every[:j] if _is_below(j, i, means, errors)]
    dips = [
        (i, j)
        for i, j in falls
        if any(_is_below(j, later, means, errors) for later in every[j + 1 :])
    ]
    return max(dips or falls, key=lambda fall: means[fall[0]] - means[fall[1]], default=None)


def table(points: Sequence[Point], title: str, note: str) -> Table:
    """One line a point."""
    rows = []
    for point in points:
        records = finished(point.records)
        left = sum(sum(record.nonzeros()) for record in records) / len(records)
        rows.append(
            (
                point.method,
                str(point.epochs),
                str(point.alpha),
                cells.weights(point.size),
                percent(point.accuracies()),
                percent(point.accuracies("train")),
                wording.percent(left / point.size),
                chosen_settings.in_words(records[0]),
                str(len(records)),
            )
        )
    columns = (
        "training",
        "epochs",
        "α",
        "weights",
        "test accuracy",
        "training accuracy",
        "weights left",
        "settings",
        "seeds",
    )
    return Table(title, columns, tuple(rows), note)


def _picture(
    by_length: Sequence[Point], by_width: Sequence[Point], data: str, theirs: Mapping[str, float]
) -> Picture:
    epochs = sorted({point.epochs for point in by_length})
    sizes = dict(sorted((point.size, point.alpha) for point in by_width))
    panels = [
        Panel(
            "epochs (log scale)",
            [_curve(by_length, method, lambda point: point.epochs) for method in METHODS],
            [(value, str(value)) for value in sorted({*epochs, *_PUBLISHED})],
            [(value, theirs[f"cifar10_{value}"]) for value in _PUBLISHED],
            "the paper, 256 M weights, augmented, SGD: test",
        ),
        Panel(
            f"weights of the network (log scale), {by_width[0].epochs} epochs",
            [_curve(by_width, method, lambda point: point.size) for method in METHODS],
            [(size, f"{size / 1e6:.3g} M\nα = {alpha}") for size, alpha in sizes.items()],
        ),
    ]
    return curves_figure(
        panels,
        title="Accuracy by length of training and by width",
        name="length_and_width",
        description=f"Test and training accuracy of S-FC on {data} against epochs and weights",
    )


def _curve(points: Sequence[Point], method: str, where: Callable[[Point], int]) -> Curve:
    mine = [point for point in points if point.method == method]
    return Curve(
        method,
        [where(point) for point in mine],
        [point.accuracies() for point in mine],
        [point.accuracies("train") for point in mine],
    )


EXPERIMENT = Experiment(
    name="length-and-width",
    title="Accuracy by length of training and by width",
    source="Asked for by the reviewers of Neyshabur 2020",
    datasets=("cifar10",),
    reproduce=reproduce,
    laptop_minutes=81,
)
