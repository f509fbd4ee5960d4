"""What an experiment is: a published table or figure, and the function that makes it anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scratchconv.lab import Lab, Outcome


@dataclass(frozen=True)
class Experiment:
    """One table or figure.

    Attributes:
        name: what `scratchconv reproduce` calls it.
        title: a heading.
        source: where it was published.
        datasets: those it takes, of which fewer can be asked for.
        reproduce: asks the lab for runs and draws what came out.
        laptop_minutes: measured at scale `laptop` on two cores with --jobs 2: half the core time of
            the runs that are committed under `results/laptop`, of the datasets that these are of;
            None: not measured.
    """

    name: str
    title: str
    source: str
    datasets: tuple[str, ...]
    reproduce: Callable[[Lab], Outcome]
    laptop_minutes: float | None = None
