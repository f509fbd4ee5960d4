"""Mantel's permutation test on a pixel grid: are the weights of a unit closer than by chance?

The statistic is Γ = Σ_{i<j} v_ij d_ij, where d is the distance between two pixel positions and v
says how strongly the units use both. Under the null hypothesis the network knows nothing of
where the pixels lie, so that any relabelling of the positions is as likely as the true one.
Mantel, "The detection of disease clustering and a generalized regression approach", Cancer
Research 27 (1967); Hubert and Schultz, "Quadratic assignment as a general data analysis
strategy", British J. of Mathematical and Statistical Psychology 29 (1976).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

_CHUNK = 2**13
"""Pairs taken at a time: their distances stay in the cache, where fresh memory is slower."""


def _sums_over_image(offsets: Floats, plane: Floats) -> Floats:
    """Σ_j offsets[i − j] plane[j] for every position i, from all (2h−1)(2w−1) offsets."""
    # Half a second of import, which only those who measure locality should wait for.
    from scipy.signal import fftconvolve

    return np.asarray(fftconvolve(offsets, plane, mode="valid"))


@dataclass(frozen=True)
class PixelGrid:
    """The pixel positions of an image of `height` × `width`, in row-major order."""

    height: int
    width: int

    @property
    def positions(self) -> int:
        return self.height * self.width

    @cached_property
    def points(self) -> NDArray[np.complex128]:
        """(positions,) x + iy: |difference| is the distance in pixels."""
        y, x = np.divmod(np.arange(self.positions), self.width)
        return x + 1j * y

    @cached_property
    def mean_distance(self) -> float:
        """Over all pairs of different positions; 0 if there is only one position."""
        pairs = self.positions * (self.positions - 1)
        return float((self._offset_counts * self._offset_distances).sum() / pairs) if pairs else 0.0

    def mean_distance_within(self, mass: Floats) -> float:
        """Σ_{i≠j} m_i m_j d_ij / Σ_{i≠j} m_i m_j of one mass distribution (positions,)."""
        plane = mass.reshape(self.height, self.width)
        reached = _sums_over_image(self._offset_distances, plane)
        return float((plane * reached).sum() / pair_mass(mass[None])[0])

    @cached_property
    def centred_moments(self) -> tuple[float, float]:
        """(Σ_{i<j} (d_ij − d̄)², Σ_i (Σ_{j≠i} (d_ij − d̄))²), from the (2h−1)(2w−1) offsets."""
        centred = self._offset_distances - self.mean_distance
        centred[self.height - 1, self.width - 1] = 0.0  # a position and itself are not a pair
        sums = _sums_over_image(centred, np.ones((self.height, self.width)))
        return float((self._offset_counts * centred**2).sum() / 2), float((sums**2).sum())

    @cached_property
    def _offset_distances(self) -> Floats:
        dy, dx = self._offsets
        return np.asarray(np.hypot(dy, dx))

    @cached_property
    def _offset_counts(self) -> Floats:
        """How many ordered pairs of positions lie at each offset."""
        dy, dx = self._offsets
        return np.asarray((self.height - np.abs(dy)) * (self.width - np.abs(dx)))

    @property
    def _offsets(self) -> tuple[Floats, Floats]:
        dy = np.arange(1.0 - self.height, self.height)
        dx = np.arange(1.0 - self.width, self.width)
        return dy[:, None], dx[None, :]


@dataclass(frozen=True)
class PairWeights:
    """v: how strongly each pair of positions is used by the same unit, summing to 1.

    `first` and `second` (pairs,) are positions, first < second; `value` (pairs,) is positive.
    Pairs that are not listed have v = 0.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    value: Floats


def pair_mass(mass: Floats) -> Floats:
    """Σ_{i≠j} m_i m_j of each row of mass (units, positions).

    The largest entry is taken apart, for (Σm)² − Σm² would lose the digits of a unit that puts
    nearly all its mass on one position.
    """
    rest = mass.copy()
    unit = np.arange(len(mass))
    largest = mass.argmax(axis=1)
    top = mass[unit, largest]
    rest[unit, largest] = 0.0
    total = rest.sum(axis=1)
    return np.asarray(2 * top * total + (total**2 - np.einsum("ui,ui->u", rest, rest)))


def observed(pairs: PairWeights, grid: PixelGrid) -> float:
    """Γ as it is: the weighted mean distance between two positions, in pixels."""
    return _statistic(pairs, grid.points)


def null_moments(pairs: PairWeights, grid: PixelGrid) -> tuple[float, float]:
    """The exact mean and standard deviation of Γ over all (h·w)! relabellings of the positions.

    E Γ² is split into the pairs of pairs that are equal, share one position, or share none, and
    each part is a product of a sum over v and a sum over d (Hubert and Schultz 1976). Centring v
    and d first shifts Γ by a constant, and keeps the variance from drowning in mean².
    """
    n = grid.positions
    possible = n * (n - 1) / 2
    even = 1 / possible
    v_squares = float(((pairs.value - even) ** 2).sum()) + (possible - len(pairs.value)) * even**2
    sums = np.bincount(pairs.first, pairs.value, n) + np.bincount(pairs.second, pairs.value, n)
    v_rows = float(((sums - 2 / n) ** 2).sum())
    d_squares, d_rows = grid.centred_moments
    equal = v_squares * d_squares / possible
    # For n = 2 and 3 there are no such pairs of pairs: the numerators are 0 up to rounding.
    one_shared = (v_rows - 2 * v_squares) * (d_rows - 2 * d_squares) / (n * (n - 1) * max(n - 2, 1))
    none_shared = (v_squares - v_rows) * (d_squares - d_rows) * 4
    none_shared /= n * (n - 1) * max(n - 2, 1) * max(n - 3, 1)
    variance = equal + one_shared + none_shared
    deviation = float(np.sqrt(max(variance, 0.0)))
    rounding = 1e-12 * grid.mean_distance
    return grid.mean_distance, deviation if deviation > rounding else 0.0


def null_draws(
    pairs: PairWeights, grid: PixelGrid, shuffles: int, rng: np.random.Generator
) -> Floats:
    """Γ under `shuffles` random relabellings of the positions: float64 (shuffles,)."""
    return np.array([_statistic(pairs, rng.permutation(grid.points)) for _ in range(shuffles)])


def _statistic(pairs: PairWeights, points: NDArray[np.complex128]) -> float:
    total = 0.0
    for start in range(0, len(pairs.value), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        distance = np.abs(points.take(pairs.first[chunk]) - points.take(pairs.second[chunk]))
        total += float(distance @ pairs.value[chunk])
    return total
