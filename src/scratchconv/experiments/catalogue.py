"""Every experiment that `scratchconv reproduce` knows, in the order of their sources."""

from __future__ import annotations

from scratchconv.errors import unknown_name
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
        rivals.EXPERIMENT,
        transfer.EXPERIMENT,
        length_and_width.EXPERIMENT,
        residual.EXPERIMENT,
    )
}


def find_experiment(name: str) -> Experiment:
    """The experiment of that name; raises `InvalidArgument` listing those there are."""
    if name not in EXPERIMENTS:
        raise unknown_name("experiment", name, (*EXPERIMENTS, "all"))
    return EXPERIMENTS[name]
