"""The means of two groups of runs compared, with the interval that their seeds allow.

The interval is Welch's: it supposes neither equal variances nor pairs. What one seed gives two
networks, or one network before and behind a permutation of its pixels, is not the same thing.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import ttest_ind

from scratchconv.report.wording import MISSING, signed


@dataclass(frozen=True)
class MeanDifference:
    """One mean less the other, and its 95 % interval.

    None where a group has one run, or where no run of either differs from the rest of its group:
    that seeds never matter cannot be learned from a few that tie.
    """

    mean: float
    interval: tuple[float, float] | None = None

    @property
    def separated(self) -> bool:
        """Whether the seeds tell the two apart; a single run of either never does."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    @property
    def range(self) -> str:
        """`+1.06 to +2.16`, or a dash."""
        return " to ".join(map(signed, self.interval)) if self.interval else MISSING

    def __str__(self) -> str:
        """`+1.61 points (95 % interval +1.06 to +2.16)`."""
        interval = f" (95 % interval {self.range})" if self.interval else ""
        return f"{signed(self.mean)} points{interval}"


def mean_difference(ours: Sequence[float], theirs: Sequence[float]) -> MeanDifference:
    """Mean of `ours` less mean of `theirs`, at least one number each."""
    mean = statistics.mean(ours) - statistics.mean(theirs)
    if min(len(ours), len(theirs)) < 2:
        return MeanDifference(mean)
    if not statistics.variance(ours) and not statistics.variance(theirs):
        return MeanDifference(mean)
    low, high = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    return MeanDifference(mean, (float(low), float(high)))
