"""Numbers of several runs as the cells that the reviewers' tables share."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scratchconv.experiments.finished_runs import finished
from scratchconv.lab import RunRecord


def mean_accuracy(records: Sequence[RunRecord], split: str = "test") -> float:
    """Mean over the runs, in percent; NaN for none."""
    values = [record.accuracy(split) for record in finished(records)]
    return statistics.mean(values) if values else math.nan


def weights(count: float) -> str:
    """A count of weights, `33,737`."""
    return f"{count:,.0f}"


def seconds(records: Sequence[RunRecord]) -> str:
    """Mean seconds of training; three digits."""
    spent = [float(record.result["seconds"]) for record in finished(records)]
    return f"{statistics.mean(spent):.3g}" if spent else "–"
