"""Runs that differ in nothing but their seed are one experiment; its numbers are their means."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scratchconv.report.label import source_of
from scratchconv.report.record import DENSE, Record
from scratchconv.report.wording import network_name

# These change the course of a run, or where it was made, but not the experiment it belongs to.
_NOT_IDENTITY = frozenset({"seed", "device", "data_dir", "checkpoint_seconds"})


@dataclass(frozen=True)
class Mean:
    """A mean over runs; `deviation` is the sample standard deviation, None for a single run."""

    value: float
    deviation: float | None
    runs: int

    def written(self, form: Callable[[float | None], str]) -> str:
        """`57.1 %`, or `57.1 % (± 0.3 %, 3 seeds)`."""
        if self.deviation is None:
            return form(self.value)
        return f"{form(self.value)} (±\u00a0{form(self.deviation)}, {self.runs}\u00a0seeds)"


@dataclass(frozen=True)
class Group:
    """Runs of one experiment: the finished ones, or all of them while none is finished."""

    records: tuple[Record, ...]

    @property
    def any(self) -> Record:
        """A run that speaks for what all of them share."""
        return self.records[0]

    @property
    def finished(self) -> bool:
        """Whether the numbers are final."""
        return self.any.finished

    @property
    def network(self) -> str:
        """The network, as papers write it."""
        return network_name(self.any.model)

    @property
    def method(self) -> str:
        """The method, as papers write it, and what else chose its connections."""
        return self.any.training

    @property
    def started(self) -> bool:
        """Whether at least one epoch was recorded."""
        return any(record.epochs or record.finished for record in self.records)

    def mean(self, quantity: Callable[[Record], float | None]) -> Mean | None:
        """The mean over the runs that have this quantity; None where none has."""
        values = [value for record in self.records if (value := quantity(record)) is not None]
        if not values:
            return None
        mean = sum(values) / len(values)
        if len(values) == 1:
            return Mean(mean, None, 1)
        squares = sum((value - mean) ** 2 for value in values)
        return Mean(mean, math.sqrt(squares / (len(values) - 1)), len(values))

    @property
    def density(self) -> float | None:
        """Mean density of the first layer."""
        mean = self.mean(lambda r: r.first_layer.density if r.first_layer else None)
        return mean.value if mean else None

    @property
    def learned_sparsity(self) -> bool:
        """Whether training took weights out of a first layer that began fully connected."""
        return (
            self.any.connectivity == "full"
            and self.any.sparsity != "given"
            and self.density is not None
            and self.density < DENSE
        )


def group(records: Sequence[Record]) -> list[Group]:
    """The experiments, in the order in which their first runs were given."""
    by_identity: dict[str, list[Record]] = {}
    for record in records:
        identity = {k: v for k, v in record.config.items() if k not in _NOT_IDENTITY}
        key = json.dumps([identity, source_of(record.resolved)], sort_keys=True, default=str)
        by_identity.setdefault(key, []).append(record)
    return [
        Group(tuple([r for r in members if r.finished] or members))
        for members in by_identity.values()
    ]
