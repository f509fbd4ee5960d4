"""Figure 5: ResNet18 with larger and larger kernels, by SGD and by β-LASSO.

Kernels of side 15 have 25 times the weights of those of side 3: the paper trains seven sizes for
400 epochs. At `laptop` α is 4 (64 in the paper), the kernels are 3, 5 and 9, and eight epochs are
made with one seed, the kernels of 9 taking over two core-minutes an epoch. Both methods choose
their settings once, on validation data of the first dataset, at a kernel of the middle; λ belongs
to a length: this file has values of its own. Eight epochs at rate 0.1 have Ση = 35 where the
paper's 400 have 1760, so λ of the trials at that rate is 20 and 30 times
the paper's 1e-5; at rate 1, where Ση is ten times as large, 5 times.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scratchconv import published
from scratchconv.experiments import settings
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.figures import (
    draw_ours,
    draw_published,
    label_axes,
    legend_below,
    new_figure,
)
from scratchconv.experiments.finished_runs import finished
from scratchconv.lab import Lab, Outcome, Picture, RunRecord, Table, percent
from scratchconv.report import wording
from scratchconv.report.wording import plural, signed
from scratchconv.training import RunConfig

METHODS = (("SGD", "sgd"), ("β-LASSO, β = 50", "beta-lasso"))


@dataclass(frozen=True)
class Plan:
    """Kernels, the one that settings are chosen at, and (rate, λ first, λ rest) to choose from.

    In ResNet18 all layers but the last are convolutions, and take λ first. `alpha` and `epochs` are
    the scale's own where they are None; `seeds`: how many of the scale's.
    """

    kernels: tuple[int, ...]
    choosing: int
    lasso: tuple[tuple[float, float, float], ...]
    alpha: int | None = None
    epochs: int | None = None
    seeds: int = 1


PLANS = {
    "smoke": Plan((3, 5), 3, ((0.1, 1e-4, 1e-4),), epochs=1),
    "laptop": Plan(
        # βλ of the second is three quarters of the initial weights' bound at a kernel of 9.
        (3, 5, 9),
        5,
        ((0.1, 2e-4, 1e-4), (0.1, 3e-4, 1.5e-4), (1.0, 5e-5, 2e-5)),
        alpha=4,
        epochs=8,
    ),
    "ee411": Plan((3, 5, 7, 9), 5, ((0.1, 5e-6, 5e-6), (0.1, 2e-5, 1e-5), (0.1, 5e-5, 2e-5))),
    "paper": Plan(
        (3, 5, 7, 9, 11, 13, 15),
        9,
        (
            (0.1, 1e-6, 1e-6),
            (0.1, 2e-6, 1e-6),
            (0.1, 5e-6, 2e-6),
            (0.1, 1e-5, 5e-6),
            (0.1, 2e-5, 1e-5),
        ),
        epochs=400,
        seeds=3,
    ),
}

Found = dict[str, dict[str, dict[int, list[RunRecord]]]]
"""Finished runs by dataset, method and kernel."""


def reproduce(lab: Lab) -> Outcome:
    """Choose both methods' settings, train all kernels, draw the lines."""
    plan = PLANS[lab.scale.name]
    base = _config(lab, plan, lab.datasets[0], plan.choosing)
    tried = {"sgd": settings.sgd(lab.scale, base), "beta-lasso": _beta_lasso(plan, base)}
    chosen = lab.choose(tried)
    made = lab.train_groups(
        {
            (data, method, kernel): {
                f"kernels of {kernel} by {title} on {data}, seed {seed}": replace(
                    chosen[method],
                    data=lab.config("resnet18", data).data,
                    kernel_size=kernel,
                    seed=seed,
                )
                for seed in lab.scale.seeds[: plan.seeds]
            }
            for data in lab.datasets
            for title, method in METHODS
            for kernel in plan.kernels
        }
    )
    found: Found = {data: {method: {} for _, method in METHODS} for data in lab.datasets}
    for (data, method, kernel), records in made.items():
        found[data][method][kernel] = finished(records)
    epochs = plan.epochs or lab.scale.long
    said = [sentence for data, methods in found.items() for sentence in sentences(data, methods)]
    said += settings.momentum(lab.datasets[0], "resnet18", "ResNet18", lab.used.values())
    said += settings.at_the_edge(
        lab.datasets[0], {title: (tried[method], chosen[method]) for title, method in METHODS}
    )
    return Outcome(tuple(said), (picture(found, epochs), table(found, list(chosen.values()))))


def picture(found: Found, epochs: int) -> Picture:
    """Accuracy against kernel size, and its change from the smallest; published lines dashed."""
    theirs = published.load("neyshabur2020")["fig5"]
    width = len(found)
    figure, panels = new_figure(3.4 * width + 0.6, 5.4, columns=width, rows=2)
    for column, (data, methods) in enumerate(found.items()):
        above, below = panels[column], panels[width + column]
        for index, (title, method) in enumerate(METHODS):
            ours = {
                kernel: [record.accuracy() for record in records]
                for kernel, records in methods[method].items()
                if records
            }
            paper = {int(kernel): value for kernel, value in theirs[data][method].items()}
            for axes, shift in ((above, False), (below, True)):
                first = statistics.mean(ours[min(ours)]) if shift and ours else 0.0
                draw_ours(
                    axes,
                    list(ours),
                    [[value - first for value in values] for values in ours.values()],
                    index=index,
                    label=f"{title}, ours",
                )
                start = paper[min(ours, default=3)] if shift else 0.0
                draw_published(
                    axes,
                    list(paper),
                    [value - start for value in paper.values()],
                    index=index,
                    label=f"{title}, the paper",
                )
        for axes in (above, below):
            axes.set_xticks([int(kernel) for kernel in theirs[data]["sgd"]])
        label_axes(above, y="test accuracy (%)" if column == 0 else "", title=data)
        label_axes(
            below,
            x="side of the kernels (pixels)",
            y="change from the smallest (points)" if column == 0 else "",
        )
    legend_below(figure, columns=min(4, 2 * width))
    return Picture.of(
        figure,
        title="ResNet18 with larger kernels",
        name="figure5",
        description="Lines of test accuracy, and its change, against the side of the kernels.",
        note=f"Solid: ours, α = {_alpha(found)}, {plural(epochs, 'epoch')}; dashed: the paper,"
        " α = 64, 400 epochs, read off its figure.",
    )


def table(found: Found, chosen: Sequence[RunConfig]) -> Table:
    """The numbers, with what is left of the weights."""
    theirs = published.load("neyshabur2020")["fig5"]
    rows = []
    for data, methods in found.items():
        for kernel in methods["sgd"]:
            row = [f"{kernel}×{kernel}", data]
            for _, method in METHODS:
                records = methods[method][kernel]
                value = theirs[data][method].get(str(kernel))
                row.append(percent([record.accuracy() for record in records]))
                row.append("–" if value is None else f"{value:g} %")
            row.append(_left(methods["beta-lasso"][kernel]))
            rows.append(tuple(row))
    sgd, lasso = chosen
    return Table(
        "Test accuracy",
        (
            "kernels",
            "data",
            "SGD: ours",
            "the paper",
            "β = 50: ours",
            "the paper",
            "weights left by β = 50",
        ),
        tuple(rows),
        note=f"n = {_runs(found)} a cell. Chosen on validation data: SGD, rate {sgd.lr:g}, momentum"
        f" {sgd.momentum:g}, weight decay {sgd.weight_decay:g}; β-LASSO, rate {lasso.lr:g},"
        f" λ {lasso.lam_first:g} of the convolutions and {lasso.lam:g} of the classifier.",
    )


def sentences(data: str, methods: dict[str, dict[int, list[RunRecord]]]) -> list[str]:
    """What the larger kernels cost each method, and β-LASSO's gain at each."""
    means = {
        method: {
            kernel: statistics.mean(record.accuracy() for record in records)
            for kernel, records in by_kernel.items()
            if records
        }
        for method, by_kernel in methods.items()
    }
    theirs = published.load("neyshabur2020")["fig5"][data]
    said = []
    shared = [kernel for kernel in means["sgd"] if kernel in means["beta-lasso"]]
    if len(shared) > 1:
        small, large = min(shared), max(shared)
        losses = {}
        for method, of in means.items():
            paper = theirs[method][str(large)] - theirs[method][str(small)]
            losses[method] = f"{signed(of[large] - of[small])} points (the paper {signed(paper)})"
        said.append(
            f"{data}: from kernels of {small} to kernels of {large} accuracy changes by"
            f" {losses['sgd']} by SGD and {losses['beta-lasso']} by β-LASSO."
        )
    if shared:
        gains = ", ".join(
            f"{signed(means['beta-lasso'][kernel] - means['sgd'][kernel])} at {kernel}"
            f" (the paper {signed(theirs['beta-lasso'][str(kernel)] - theirs['sgd'][str(kernel)])})"
            for kernel in shared
        )
        said.append(f"{data}: β-LASSO's gain on SGD in points: {gains}.")
    return said


def _config(lab: Lab, plan: Plan, data: str, kernel: int) -> RunConfig:
    size = {} if plan.alpha is None else {"alpha": plan.alpha}
    epochs = plan.epochs or lab.scale.long
    return lab.config("resnet18", data, kernel_size=kernel, epochs=epochs, **size)


def _beta_lasso(plan: Plan, config: RunConfig) -> list[RunConfig]:
    return [
        replace(config, method="beta-lasso", beta=50.0, lr=lr, lam_first=first, lam=rest)
        for lr, first, rest in plan.lasso
    ]


def _left(records: list[RunRecord]) -> str:
    if not records:
        return "no finite loss"
    shares = [
        sum(record.nonzeros()) / sum(int(layer["size"]) for layer in record.result["layers"])
        for record in records
    ]
    return wording.percent(statistics.mean(shares))


def _runs(found: Found) -> int:
    return max(len(of) for methods in found.values() for k in methods.values() for of in k.values())


def _alpha(found: Found) -> int | str:
    records = [r for methods in found.values() for k in methods.values() for r in k.values()]
    return next((int(of[0].resolved["alpha"]) for of in records if of), "?")


EXPERIMENT = Experiment(
    name="figure5",
    title="Figure 5: ResNet18 with larger kernels, by SGD and by β-LASSO",
    source="Neyshabur 2020, Figure 5",
    datasets=("cifar10", "cifar100", "svhn"),
    reproduce=reproduce,
    laptop_minutes=66,
)
