"""Every experiment that `scratchconv reproduce` knows, in the order of their sources."""

from __future__ import annotations

from scratchconv.errors import InvalidArgument, unknown_name
from scratchconv.experiments.ee411 import figure1 as ee411_figure1
from scratchconv.experiments.ee411 import figure2 as ee411_figure2
from scratchconv.experiments.ee411 import table1 as ee411_table1
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.neyshabur import (
    bounds,
    figure1,
    figure2,
    figure3,
    figure4,
    figure5,
    permutation,
    table1,
    table2,
)
from scratchconv.experiments.reviewers import length_and_width, residual, rivals, transfer
from scratchconv.experiments.zhang import attacks, samples, tree, tree_weights

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        table1.EXPERIMENT,
        table2.EXPERIMENT,
        figure1.EXPERIMENT,
        figure2.EXPERIMENT,
        figure3.EXPERIMENT,
        figure4.EXPERIMENT,
        figure5.EXPERIMENT,
        bounds.EXPERIMENT,
        permutation.EXPERIMENT,
        ee411_table1.EXPERIMENT,
        ee411_figure1.EXPERIMENT,
        ee411_figure2.EXPERIMENT,
        tree.EXPERIMENT,
        tree_weights.EXPERIMENT,
        samples.EXPERIMENT,
        attacks.EXPERIMENT,
        rivals.EXPERIMENT,
        transfer.EXPERIMENT,
        length_and_width.EXPERIMENT,
        residual.EXPERIMENT,
    )
}

AS_PUBLISHED_CODE: dict[str, Experiment] = {
    item.EXPERIMENT.name: item.AS_PUBLISHED_CODE for item in (tree, tree_weights, samples, attacks)
}
"""Those whose published code differs from its text, as the code has them."""

PAGES: dict[str, Experiment] = {
    page.name: page
    for name, experiment in EXPERIMENTS.items()
    for page in (experiment, AS_PUBLISHED_CODE.get(name))
    if page is not None
}
"""All that have a folder and a page of their own: as the code has it follows as the text says."""


def find_experiment(name: str) -> Experiment:
    """The experiment of that name; raises `InvalidArgument` listing those there are."""
    if name not in EXPERIMENTS:
        raise unknown_name("experiment", name, (*EXPERIMENTS, "all"))
    return EXPERIMENTS[name]


def as_published_code(experiment: Experiment) -> Experiment:
    """The experiment as its published code has it; raises `InvalidArgument` where it has none."""
    if experiment.name not in AS_PUBLISHED_CODE:
        raise InvalidArgument(
            f"--as-published-code: {experiment.name} has no published code that differs from its"
            f" text; these have: {', '.join(AS_PUBLISHED_CODE)}"
        )
    return AS_PUBLISHED_CODE[experiment.name]
