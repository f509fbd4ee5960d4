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


def chosen(record: RunRecord) -> str:
    """The settings of a run that are chosen on validation data, in words."""
    rate = f"rate {record.setting('lr'):g}"
    if "lasso" in record.setting("method"):
        first, rest = record.setting("lam_first"), record.setting("lam")
        return f"{rate}, λ first {rest if first is None else first:.3g}, rest {rest:.3g}"
    momentum, decay = record.setting("momentum"), record.setting("weight_decay")
    return f"{rate}, momentum {momentum:g}, weight decay {decay:g}"


def weights(count: float) -> str:
    """A count of weights, `33,737`."""
    return f"{count:,.0f}"


def seconds(records: Sequence[RunRecord]) -> str:
    """Mean seconds of training; three digits."""
    spent = [float(record.result["seconds"]) for record in finished(records)]
    return f"{statistics.mean(spent):.3g}" if spent else "–"
