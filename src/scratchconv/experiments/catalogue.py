"""Every experiment that `scratchconv reproduce` knows, in the order of their sources."""

from __future__ import annotations

from scratchconv.errors import unknown_name
from scratchconv.experiments.experiment import Experiment
from scratchconv.experiments.neyshabur import table2

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: experiment for experiment in (table2.EXPERIMENT,)
}


def find_experiment(name: str) -> Experiment:
    """The experiment of that name; raises `InvalidArgument` listing those there are."""
    if name not in EXPERIMENTS:
        raise unknown_name("experiment", name, (*EXPERIMENTS, "all"))
    return EXPERIMENTS[name]
