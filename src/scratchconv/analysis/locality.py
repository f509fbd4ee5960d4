"""Do the units of a layer look at one place of the image? Two measures, one with a null.

Spread says how small the filters are, but a filter of few weights is small by chance alone: m
equal weights at random positions have a spread of about √((m − 1)/m). The second measure, the
mean distance between two weights of the same unit, is therefore held against a null in which
the positions are shuffled. Distance serves 2 weights a unit and dense filters alike: it uses
every pair, and needs no neighbourhood within which a sparse unit would hardly ever have two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from scratchconv.analysis.mantel import (
    PairWeights,
    PixelGrid,
    null_draws,
    null_moments,
    observed,
    pair_mass,
)
from scratchconv.analysis.mass import Permutation, Weight, checked_image, masses
from scratchconv.errors import InvalidArgument

DENSE_POSITIONS = 1024
"""Positions (32 × 32) up to which every pair is used, however dense the filters."""

_MOST_PAIRS = DENSE_POSITIONS**2
"""On larger images: pairs of weights of one unit, over all units, up to which all are used."""


@dataclass(frozen=True)
class Locality:
    """How local the filters of a layer are. Plain numbers, None where undefined: JSON-able.

    units: living units, those with a weight that is not zero; only they are measured.
    dead_units: units whose weights are all zero.
    single_pixel_units: living units that see one pixel. Their spread is 0, and they have no
        distance, so the fields from `statistic` on are of the others.
    spread: median over living units of `spread`: 1 is uniform, 0 a single pixel.
    spread_by_chance: median over living units of the spread (root mean square) that the same
        mass has at random positions, √((1 − Σm²)·n/(n − 1)) with n = h·w.
    statistic: mean over units of the mean distance between two of the unit's pixels, weighted
        by |w|, in pixels: Σ_{i≠j} m_i m_j d_ij / Σ_{i≠j} m_i m_j.
    null_mean, null_std: exact mean and standard deviation of the statistic when the pixel
        positions are relabelled at random (Mantel 1967). One relabelling serves all units and
        channels, so units that resemble each other are not counted as independent evidence.
    z_score: (null_mean − statistic) / null_std: positive where weights are closer than by
        chance. 0 if no relabelling changes the statistic.
    p_value: one-sided, (1 + k)/(1 + shuffles), with k of `shuffles` random relabellings having
        a statistic as small as the true one. 1 if there is nothing to measure.
    ratio: statistic / null_mean, an effect size that does not grow with the number of units:
        1 by chance, less if local.
    average_filter: the same mean distance within the layer's average filter (mean of m over
        living units). A layer that only avoids the same pixels in every unit, such as the
        constant border of MNIST, is closer than by chance too; then `average_filter` is as
        small as `statistic`. Units that look at different places have it near `null_mean`.
    positions: pixel positions among which pairs were taken: h·w, or a random DENSE_POSITIONS of
        them on a larger image with dense filters (which keeps the test exact, and costs power).
    shuffles, seed: as given.
    """

    units: int
    dead_units: int
    single_pixel_units: int
    spread: float | None
    spread_by_chance: float | None
    statistic: float | None
    null_mean: float | None
    null_std: float | None
    z_score: float | None
    p_value: float
    ratio: float | None
    average_filter: float | None
    positions: int
    shuffles: int
    seed: int


def spread(
    weight: Weight, image: tuple[int, int, int], permutation: Permutation | None = None
) -> Tensor:
    """How widely each unit looks: 1 as widely as a uniform filter, 0 at a single pixel.

    With m_p the unit's |w| summed over channels at pixel position p = (x, y), divided by its
    sum, and (x̄, ȳ) = Σ_p m_p (x, y):

        spread = √( Σ_p m_p ((x − x̄)² + (y − ȳ)²) / ((h² − 1)/12 + (w² − 1)/12) ),

    the denominator being the same variance for a uniform filter on the whole image. It can pass
    1 (mass in opposite corners). Sparse units are small by chance; see `Locality`.

    `weight` (units, c·h·w) or (units, c, h, w), a tensor or array of any floating dtype; `image`
    (c, h, w), (c, 1, w) for a sequence; `permutation` (h·w,) from data.pixel_permutation if the
    network sees pixel permutation[k] at position k. Returns float64 (units,) on the weight's
    device: NaN for dead units, and for all if the image has a single position. Raises
    InvalidArgument on shapes that do not match.
    """
    height, width = checked_image(image)[1:]
    parts = [_spread_of_masses(mass, height, width) for mass in masses(weight, image, permutation)]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)


def median_spread(
    weight: Weight, image: tuple[int, int, int], permutation: Permutation | None = None
) -> float:
    """Median of `spread` over living units; NaN if there is none. Cheap enough for every epoch."""
    median = _median(spread(weight, image, permutation))
    return math.nan if median is None else median


def locality(
    weight: Weight,
    image: tuple[int, int, int],
    *,
    permutation: Permutation | None = None,
    shuffles: int = 499,
    seed: int = 0,
) -> Locality:
    """Measures how local the filters of a layer are, and whether more than by chance.

    Arguments as for `spread`; all units are used, a few at a time. `null_mean`, `null_std` and
    `z_score` are closed forms; `shuffles` random relabellings, drawn from `seed`, serve the
    p-value alone (499: its smallest value is 0.002). The same arguments give the same result.
    """
    _, height, width = checked_image(image)
    if shuffles < 1:
        raise InvalidArgument(f"shuffles is {shuffles}: at least 1 is needed for a p-value")
    grid = PixelGrid(height, width)
    n = grid.positions
    spreads: list[Tensor] = []
    by_chance: list[Tensor] = []
    total = np.zeros(n)
    single = weight_pairs = 0
    for mass in masses(weight, image, permutation):
        spreads.append(_spread_of_masses(mass, height, width))
        living = _living(mass)
        counts = np.count_nonzero(living, axis=1).astype(np.int64)
        single += int((counts == 1).sum())
        weight_pairs += int((counts * (counts - 1)).sum())
        total += living.sum(axis=0)
        by_chance.append(torch.from_numpy(np.sqrt(pair_mass(living) * n / max(n - 1, 1))))
    every_spread = torch.cat(spreads) if spreads else torch.empty(0)
    chance = torch.cat(by_chance) if by_chance else torch.empty(0)
    units = len(chance)

    rng = np.random.default_rng(seed)
    kept = np.arange(n)
    if n > DENSE_POSITIONS and weight_pairs > _MOST_PAIRS:
        kept = np.sort(rng.choice(n, DENSE_POSITIONS, replace=False))
    pairs = _pair_weights(weight, image, permutation, kept) if weight_pairs else None
    statistic = mean = deviation = z = None
    p_value = 1.0
    if pairs is not None:
        statistic = observed(pairs, grid)
        mean, deviation = null_moments(pairs, grid)
        z = (mean - statistic) / deviation if deviation else 0.0
        # Relabellings that give the very same statistic may differ from it in the last digits.
        as_small = null_draws(pairs, grid, shuffles, rng) <= statistic * (1 + 1e-12)
        p_value = (1 + int(as_small.sum())) / (1 + shuffles)
    return Locality(
        units=units,
        dead_units=len(every_spread) - units,
        single_pixel_units=single,
        spread=_median(every_spread),
        spread_by_chance=_median(chance) if n > 1 else None,
        statistic=statistic,
        null_mean=mean,
        null_std=deviation,
        z_score=z,
        p_value=p_value,
        ratio=statistic / mean if statistic is not None and mean else None,
        average_filter=(
            grid.mean_distance_within(total / units) if np.count_nonzero(total) > 1 else None
        ),
        positions=len(kept),
        shuffles=shuffles,
        seed=seed,
    )


def _pair_weights(
    weight: Weight,
    image: tuple[int, int, int],
    permutation: Permutation | None,
    kept: np.ndarray[tuple[int], np.dtype[np.intp]],
) -> PairWeights | None:
    """The mean over units of m_i m_j / Σ_{i<j} m_i m_j, for i, j among the `kept` positions.

    None if no unit has two of them. Filters on a larger image that are sparse enough to keep
    all positions go through scipy.sparse, for the matrix of all pairs would not fit.
    """
    dense = len(kept) <= DENSE_POSITIONS
    gram = np.zeros((len(kept), len(kept))) if dense else sparse.csr_array((len(kept), len(kept)))
    measured = 0
    for mass in masses(weight, image, permutation):
        living = _living(mass)[:, kept]
        within = pair_mass(living)
        living, within = living[within > 0], within[within > 0]
        measured += len(living)
        scaled = living * np.sqrt(2 / within)[:, None]
        rows = scaled if dense else sparse.csr_array(scaled)
        gram = gram + rows.T @ rows
    if not measured:
        return None
    upper = sparse.coo_array(np.triu(gram, 1)) if dense else sparse.triu(gram, 1).tocoo()
    return PairWeights(kept[upper.row], kept[upper.col], upper.data / measured)


def _spread_of_masses(mass: Tensor, height: int, width: int) -> Tensor:
    plane = mass.view(-1, height, width)
    variance = _variance(plane.sum(dim=1)) + _variance(plane.sum(dim=2))
    return (variance / ((height**2 - 1) / 12 + (width**2 - 1) / 12 or math.nan)).sqrt()


def _variance(marginal: Tensor) -> Tensor:
    """Variance of the coordinate 0, 1, … under each row of `marginal` (units, side)."""
    side = torch.arange(marginal.shape[1], dtype=marginal.dtype, device=marginal.device)
    mean = marginal @ side
    return (marginal * (side - mean[:, None]) ** 2).sum(dim=1)


def _living(mass: Tensor) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The rows of the units that are not dead, as an array in main memory."""
    array = mass.cpu().numpy()
    return np.asarray(array[~np.isnan(array[:, 0])])


def _median(values: Tensor) -> float | None:
    """Median of the values that are not NaN, the mean of the middle two if their number is even."""
    finite = values[~values.isnan()].cpu().numpy()
    return float(np.median(finite)) if len(finite) else None
