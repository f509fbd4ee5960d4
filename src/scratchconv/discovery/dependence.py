"""How strongly each pair of columns depends on each other, and what chance would give.

Two orthonormal functions of every column are correlated with those of every other: its normal
scores (which see what rises and falls together), and the normal scores of their magnitude, less
what the first explains (which sees what is large together, whatever its sign: whitened images keep
nothing else). Under independence all such correlations vanish (Lancaster, "The structure of
bivariate distributions", Annals of Mathematical Statistics 29, 1958). Ranks leave outliers and
units without effect (van der Waerden 1952).

**The null hypothesis** is that the columns are exchangeable: that the entries of a row, in normal
scores, may be permuted among its columns, each row for itself. Independent columns are that, but so
are columns that are all equally dependent, as by an unknown brightness of each row. Mean and
variance over all those permutations are known exactly. Structure is what exceeds them: some pairs
*more* dependent than all together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scratchconv.discovery.graph import MAX_COLUMNS, Evidence, Floats, Floats32, Integers
from scratchconv.errors import InvalidArgument

_CHUNK = 256
"""Columns ranked at a time."""
_EVEN = 0.5
"""Added to what is beyond chance, in null variances: keeps the weights even where there is none."""
MIN_ROWS = 20
"""Fewer rows leave no pair beyond doubt."""


def normal_scores(values: NDArray[Any]) -> Floats32:
    """Each column's ranks (ties share theirs) at normal quantiles: float32, mean 0, variance 1.

    A constant column becomes 0 throughout. values: (n, d), any real numbers.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    n, d = values.shape
    scores = np.empty((n, d), np.float32)
    for start in range(0, d, _CHUNK):
        columns = np.ascontiguousarray(values[:, start : start + _CHUNK].T)
        quantiles = ndtri((rankdata(columns, axis=1) - 0.5) / n)
        scores[:, start : start + _CHUNK] = _standardised(quantiles, axis=1).T
    return scores


def magnitude_scores(scores: Floats32) -> Floats32:
    """The second function of every column: normal scores of |first|, less what the first explains.

    Two-valued columns have no second function, and get 0.
    """
    magnitude = normal_scores(np.abs(scores))
    magnitude -= scores * np.einsum("nd,nd->d", scores, magnitude) / len(scores)
    return np.asarray(_standardised(magnitude, axis=0), np.float32)


def _standardised(values: NDArray[Any], axis: int) -> NDArray[Any]:
    centred = values - values.mean(axis=axis, keepdims=True)
    deviation = centred.std(axis=axis, keepdims=True)
    # What is left of a function that another explains wholly is rounding, not a signal.
    return np.asarray(np.where(deviation > 1e-3, centred / np.maximum(deviation, 1e-3), 0.0))


@dataclass(frozen=True, eq=False)
class Dependence:
    """The dependence of every pair of columns beside its null hypothesis.

    linear: float32 (d, d), correlation of the normal scores.
    magnitude: float32 (d, d), correlation of the second functions.
    score: float32 (d, d): a weighted sum of |linear| and magnitude, in standard deviations above
        the null mean; the diagonal is 0.
    moments: float64 (4, d), third moments of the two functions a and b of every column, each
        scaled by the root of its weight: E a³, E a²b, E ab², E b³.
    rows: n.
    deviation: of the weighted sum under the null.
    null: float32 scores of pairs of columns after one permutation of every row.
    """

    linear: Floats32
    magnitude: Floats32
    score: Floats32
    moments: Floats
    rows: int
    deviation: float
    null: Floats32

    @property
    def columns(self) -> int:
        return len(self.score)

    @cached_property
    def evidence(self) -> Evidence:
        """The scores, as one source of evidence among others."""
        return Evidence(self.score, self.null, "dependence")

    def p_values(self, pairs: Integers) -> Floats:
        """The chance of such a score or a higher one under the null: pairs (m, 2) -> (m,).

        A sum over n rows is nearly normal, unless the columns are skewed: two rare events that
        meet once more than expected are no wonder. The third moment of the sum is known, and a
        gamma distribution of that skewness (Pearson's type III, whose tail is like Poisson's)
        gives the chance. Two-sided, because |linear| is.
        """
        from scipy.stats import gamma, norm

        first, second = self.moments[:, pairs[:, 0]], self.moments[:, pairs[:, 1]]
        weights = np.array([1.0, 3.0, 3.0, 1.0])[:, None]
        third = np.abs(weights * first * second).sum(axis=0) / self.rows**2
        skewness = third / self.deviation**3
        score = self.score[pairs[:, 0], pairs[:, 1]].astype(np.float64)
        shape = 4 / np.maximum(skewness, 1e-2) ** 2
        skewed = gamma.sf(shape + score * np.sqrt(shape), shape)
        return np.asarray(np.minimum(2 * np.maximum(norm.sf(score), skewed), 1.0))


def dependence(values: ArrayLike, *, seed: int = 0) -> Dependence:
    """The dependence of all pairs of columns of `values` (n, d), in some 4·n·d² operations.

    `seed` draws the permutation whose scores are the `null` sample; nothing else is random.
    Raises InvalidArgument for too few rows, too many columns, or values that are not finite.
    """
    table = checked_table(values)
    first = normal_scores(table)
    second = magnitude_scores(first)
    n = len(first)
    linear, magnitude = first.T @ first / n, second.T @ second / n
    rows = RowMoments.of(first, second)
    weights = _weights(linear, magnitude, rows)
    mean, deviation = rows.null(weights)
    score = weights[0] * np.abs(linear)
    score += weights[1] * magnitude
    score -= mean
    score /= deviation
    np.fill_diagonal(score, 0.0)
    varied = np.flatnonzero(rows.varied_a)
    if len(varied) < 3:
        score[:] = 0.0  # of two columns neither can be nearer to the other than a third is
    # Third moments of the products a_i a_j + b_i b_j, the functions scaled by the roots of weights.
    a, b = (np.sqrt(weight) for weight in weights)
    moments = np.array(
        [
            a**3 * np.einsum("nd,nd,nd->d", first, first, first),
            a**2 * b * np.einsum("nd,nd,nd->d", first, first, second),
            a * b**2 * np.einsum("nd,nd,nd->d", first, second, second),
            b**3 * np.einsum("nd,nd,nd->d", second, second, second),
        ],
        np.float64,
    )
    width = min(len(varied), 256)
    # The same permutation for both functions: they belong to one entry.
    order = np.tile(varied, (n, 1))
    order = np.random.default_rng(seed).permuted(order, axis=1)[:, :width]
    drawn = [np.take_along_axis(function, order, axis=1) for function in (first, second)]
    correlations = [each.T @ each / n for each in drawn]
    null = weights[0] * np.abs(correlations[0]) + weights[1] * correlations[1]
    null = ((null - mean) / deviation)[np.triu_indices(width, 1)].astype(np.float32)
    return Dependence(linear, magnitude, score, moments / n, n, deviation, null)


@dataclass(frozen=True, eq=False)
class RowMoments:
    """What the null hypothesis needs to know of the rows of two functions, each float64 (n,).

    The pair that two columns hold in one row is any ordered pair of the row's entries with the
    same chance, so Σ_{i≠j} a_i a_j = (Σa)² − Σa² and its like give its moments exactly. Constant
    columns have no entries, and columns of two values none of the second function, which is 0
    throughout: counted as if they varied, they would make chance look smaller than it is.
    mean_a, mean_b: of a_i a_j and of b_i b_j. squares_a, squares_b, crossed: of (a_i a_j)²,
    (b_i b_j)², and their product. varied_a, varied_b: bool (d,), the columns that have the one and
    the other function.
    """

    mean_a: Floats
    mean_b: Floats
    squares_a: Floats
    squares_b: Floats
    crossed: Floats
    varied_a: NDArray[np.bool_]
    varied_b: NDArray[np.bool_]

    @staticmethod
    def of(first: Floats32, second: Floats32) -> RowMoments:
        """Of two functions of every column, (n, d)."""
        varied = [np.asarray(function.any(axis=0)) for function in (first, second)]
        counts = [int(columns.sum()) for columns in varied]
        pairs_a, pairs_b = (max(1, count * (count - 1)) for count in counts)

        def sums(*factors: Floats32) -> Floats:
            term = ",".join(["nd"] * len(factors))
            return np.asarray(np.einsum(f"{term}->n", *factors), np.float64)

        aa, bb, ab = first * first, second * second, first * second
        sum_aa, sum_bb, sum_ab = sums(aa), sums(bb), sums(ab)
        return RowMoments(
            (sums(first) ** 2 - sum_aa) / pairs_a,
            (sums(second) ** 2 - sum_bb) / pairs_b,
            (sum_aa**2 - sums(aa, aa)) / pairs_a,
            (sum_bb**2 - sums(bb, bb)) / pairs_b,
            (sum_ab**2 - sums(ab, ab)) / pairs_b,
            *varied,
        )

    def null(self, weights: tuple[float, float]) -> tuple[float, float]:
        """Mean and standard deviation of α·|linear| + β·magnitude over all permutations.

        The mean takes |mean of linear| for |linear|, and the standard deviation is the larger
        of those of α·linear + β·magnitude and β·magnitude − α·linear.
        """
        a, b = weights
        variances = []
        for sign in (1, -1):
            squares = a**2 * self.squares_a + b**2 * self.squares_b
            squares = squares + 2 * sign * a * b * self.crossed
            of_row = squares - (a * self.mean_a + sign * b * self.mean_b) ** 2
            variances.append(max(float(of_row.mean()), 0.0) / len(of_row))
        mean = a * abs(float(self.mean_a.mean())) + b * float(self.mean_b.mean())
        return mean, max(float(np.sqrt(max(variances))), 1e-12)


def _weights(linear: Floats32, magnitude: Floats32, rows: RowMoments) -> tuple[float, float]:
    """Weight each function's correlations by how far they spread beyond chance.

    Where one function shows nothing (whitened data have no linear dependence left) it would only
    add noise to what the other shows. Where both show nothing they weigh the same.
    """
    excess = []
    for correlations, only, has in (
        (linear, (1.0, 0.0), rows.varied_a),
        (magnitude, (0.0, 1.0), rows.varied_b),
    ):
        pairs = has & has[:, None]
        np.fill_diagonal(pairs, False)
        off = correlations[pairs].astype(np.float64)
        _, deviation = rows.null(only)
        excess.append(max(float(off.var()) / deviation**2 - 1, 0.0) if off.size else 0.0)
    a, b = (float(np.sqrt(each + _EVEN)) for each in excess)
    return a / (a + b), b / (a + b)


def checked_table(values: ArrayLike) -> NDArray[Any]:
    """`values` as a finite array (n, d) of numbers, or the reason why it cannot be used."""
    table = np.asarray(values)
    if table.ndim != 2:
        raise InvalidArgument(f"values of shape {table.shape} are no table: give (rows, columns)")
    if table.dtype.kind not in "buif":
        raise InvalidArgument(f"values of type {table.dtype} are no numbers: encode them first")
    n, d = table.shape
    if n < MIN_ROWS:
        raise InvalidArgument(f"{n} rows say nothing of neighbours: give {MIN_ROWS} or more")
    if not 2 <= d <= MAX_COLUMNS:
        raise InvalidArgument(
            f"{d} columns cannot be compared: give 2 to {MAX_COLUMNS} (each d×d matrix of float32 "
            f"would need {d * d * 4 / 2**20:.0f} MB); average or leave out columns first"
        )
    if table.dtype.kind == "f" and not np.isfinite(table).all():
        bad = np.flatnonzero(~np.isfinite(table).all(axis=0))
        raise InvalidArgument(
            f"{len(bad)} columns, the first of them {bad[0]}, hold NaN or infinity: "
            "fill in or drop those values"
        )
    return table
