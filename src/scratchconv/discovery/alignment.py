"""Whether a shift maps the units of a trained layer onto each other.

Along a geometry every unit can be looked at through a window, wherever that lies. If weights are
shared, the same few filters are seen again and again: unit u is a_u · filter k(u) at position p(u).
All of these are found in turn, as k-means finds its centres: for every unit the filter and place
that explain most of it, for every filter the direction that its units share most. Sign and scale
a_u are free, so centres are lines through the origin (k-lines; Bradley and Mangasarian, "k-plane
clustering", J. of Global Optimization 16, 2000), and places make it shift-invariant.

**How many filters?** As many as describe the weights in the fewest bits: Theorem 2 of Neyshabur
2020 with what the filters do not explain coded as well, so that no precision is lost. **Could it be
chance?** The null keeps each unit's place, support and magnitudes, and draws the sign of every
weight anew: units of one filter are then alike in where they look, not in what they look for. The
search is repeated in full on each sample of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scratchconv.analysis.prefix_code import choice_width
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.graph import Floats, Integers
from scratchconv.discovery.neighbourhoods import neighbourhoods
from scratchconv.errors import InvalidArgument

FILTERS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
NULL_SAMPLES = 19
"""The smallest p-value that so many samples allow is 1/20."""
_MOST_UNITS = 128
_ROUNDS, _STARTS = 15, 3
_PLACES = 48
"""Of each unit so many windows are looked through, those that hold most of it."""
_VALUE_BITS = 8
"""Of one number of a filter: what is lost by rounding lies far below what filters leave open."""
_VISIBLE = 0.4
"""The share of a filter's energy that must lie on columns, not beyond an edge, wherever it is."""
_EXACT = 2.0**-10
"""Residuals below this share of a unit's energy count as this: weights have no more digits."""


@dataclass(frozen=True, eq=False)
class SharedFilters:
    """A few filters that the units of a layer are shifted copies of, or as near as they come.

    filters: float64 (K, size), of norm 1; in the order of one row of `neighbourhoods`.
    units: int64 (m,), the units that were compared, the strongest first.
    filter_of, centre_of: int64 (m,), the filter and the position of each.
    amplitude: float64 (m,), a_u with its sign, for units scaled to norm 1.
    explained: the share of the units' energy that lies in their filters, in [0, 1].
    bits_saved: by telling filters and map instead of every unit's own window; negative if none.
    null: float64 (samples,), the same of units with signs drawn anew.
    window: positions along one side of it.
    """

    filters: Floats
    units: Integers
    filter_of: Integers
    centre_of: Integers
    amplitude: Floats
    explained: float
    bits_saved: float
    null: Floats
    window: int

    @property
    def p_value(self) -> float:
        """The chance of as many bits under the null, from its samples."""
        return float((1 + (self.null >= self.bits_saved).sum()) / (1 + len(self.null)))

    @property
    def z(self) -> float:
        """How many deviations of the null the bits saved lie above its mean."""
        return float((self.bits_saved - self.null.mean()) / max(self.null.std(), 1e-9))


def shared_filters(
    weights: ArrayLike,
    geometry: Geometry,
    *,
    window: int = 5,
    null_samples: int = NULL_SAMPLES,
    seed: int = 0,
) -> SharedFilters | None:
    """Look for filters that the units of a layer share up to a shift along `geometry`.

    Args:
        weights: (units, d), of the layer that sees the columns.
        geometry: where the columns lie.
        window: positions along one side, odd.
        null_samples: of the null hypothesis, at least 1.
        seed: of the search's starts and of the null.

    Returns None where there is nothing to compare: no geometry, or fewer than three units with
    weights left. Of more than 128 units, the strongest are compared. Raises InvalidArgument for
    weights of another table.
    """
    table = np.asarray(weights, np.float64)
    d = len(geometry.position_of)
    if table.ndim != 2 or table.shape[1] != d or not np.isfinite(table).all():
        raise InvalidArgument(
            f"weights of shape {table.shape} do not fit a geometry of {d} columns: give finite"
            f" numbers, (units, {d})"
        )
    if null_samples < 1:
        raise InvalidArgument(f"null_samples is {null_samples}: give 1 or more")
    norms = np.linalg.norm(table, axis=1)
    units = np.argsort(-norms, kind="stable")[: min(_MOST_UNITS, int((norms > 0).sum()))]
    if geometry.kind == "none" or len(units) < 3:
        return None
    index = neighbourhoods(geometry, window)
    live = table[units] / norms[units, None]
    random = np.random.RandomState(seed)
    found = _best(live, index, random)
    null = np.empty(null_samples)
    for sample in range(null_samples):
        flipped = live * random.choice((-1.0, 1.0), size=live.shape)
        null[sample] = _best(flipped, index, random).bits_saved
    return SharedFilters(
        found.filters,
        units,
        found.filter_of,
        found.centre_of,
        found.amplitude,
        float((found.amplitude**2).mean()),
        found.bits_saved,
        null,
        window,
    )


@dataclass(frozen=True, eq=False)
class _Clustering:
    filters: Floats
    filter_of: Integers
    centre_of: Integers
    amplitude: Floats
    bits_saved: float


def _best(units: Floats, index: Integers, random: np.random.RandomState) -> _Clustering:
    """The clustering that saves most bits, over the numbers of filters and several starts."""
    views = _views(units, index)
    found: list[_Clustering] = []
    worse = 0
    for count in FILTERS:
        if count > max(1, len(units) // 3) or worse == 2:
            break
        starts = [_clustering(views, count, random) for _ in range(_STARTS)]
        best = max(one.bits_saved for one in starts)
        worse = worse + 1 if found and best < max(one.bits_saved for one in found) else 0
        found += starts
    return max(found, key=lambda one: one.bits_saved)


@dataclass(frozen=True, eq=False)
class _Views:
    """What each unit looks like through the windows that hold most of it.

    seen: (units, windows, size), 0 where there is no column; visible: which columns there are.
    position: (units, windows), of each window. positions: of the geometry.
    """

    seen: NDArray[np.float32]
    visible: NDArray[np.bool_]
    position: Integers
    positions: int


def _views(units: Floats, index: Integers) -> _Views:
    beyond = np.concatenate([units, np.zeros((len(units), 1))], axis=1).astype(np.float32)
    held = np.stack([np.square(one[index]).sum(axis=1) for one in beyond])
    most = np.sort(np.argsort(-held, axis=1, kind="stable")[:, :_PLACES], axis=1)
    seen = beyond[np.arange(len(units))[:, None, None], index[most]]
    return _Views(seen, index[most] >= 0, most, len(index))


def _clustering(views: _Views, count: int, random: np.random.RandomState) -> _Clustering:
    units, _, size = views.seen.shape
    every = np.arange(units)
    # Through the window that holds most of it, a unit is a first guess of a filter.
    held = np.square(views.seen).sum(axis=2)
    guesses = views.seen[every, held.argmax(axis=1)].astype(np.float64)
    filters = _starts(guesses, count, random)
    previous = -1.0
    for _ in range(_ROUNDS):
        filter_of, window_of, amplitude = _placed(views, filters)
        seen = views.seen[every, window_of].astype(np.float64)
        for k in range(count):
            own = seen[filter_of == k]
            if len(own):
                filters[k] = np.linalg.eigh(own.T @ own)[1][:, -1]
        energy = float(np.square(amplitude).sum())
        if energy - previous < 1e-6 * units:
            break
        previous = energy
    filter_of, window_of, amplitude = _placed(views, filters)
    saved = _bits_saved(held.max(axis=1), amplitude, size, count, views.positions)
    return _Clustering(filters, filter_of, views.position[every, window_of], amplitude, saved)


def _starts(guesses: Floats, count: int, random: np.random.RandomState) -> Floats:
    """Directions far from each other, as k-means++ draws them (Arthur and Vassilvitskii 2007)."""
    directions = guesses / np.maximum(np.linalg.norm(guesses, axis=1, keepdims=True), 1e-12)
    chosen = [random.randint(len(directions))]
    while len(chosen) < count:
        far = 1 - np.square(directions @ directions[chosen].T).max(axis=1)
        far = np.maximum(far, 1e-12)
        chosen.append(random.choice(len(directions), p=far / far.sum()))
    return np.asarray(directions[chosen])


def _placed(views: _Views, filters: Floats) -> tuple[Integers, Integers, Floats]:
    """For each unit the filter and the window at which it explains most, and its amplitude.

    At an edge only the part of a filter that lies on columns counts, and is scaled to norm 1.
    """
    units = len(views.seen)
    inside = views.visible @ np.square(filters).T.astype(np.float32)  # at most 1
    scale = np.where(inside >= _VISIBLE, 1 / np.sqrt(np.maximum(inside, _VISIBLE)), 0)
    overlap = (views.seen @ filters.T.astype(np.float32)) * scale
    flat = overlap.reshape(units, -1)
    best = np.abs(flat).argmax(axis=1)
    amplitude = flat[np.arange(units), best].astype(np.float64)
    return best % len(filters), best // len(filters), amplitude


def _bits_saved(held: Floats, amplitude: Floats, size: int, count: int, positions: int) -> float:
    """Bits of every unit's own window, less those of filters, map and what they leave open.

    Both codes tell a unit's position and scale, and both its numbers to the same precision: those
    of variance v take ½ log₂ v bits each more than those of variance 1 (the Gaussian code).
    """
    left = np.maximum(held - np.square(amplitude), 0) + _EXACT
    own = size / 2 * np.log2((held + _EXACT).mean())
    rest = size / 2 * np.log2(left.mean())
    m = len(amplitude)
    tables = count * size * _VALUE_BITS
    sharing = m * (choice_width(count) + 1)  # which filter, and its sign
    number = choice_width(m)
    return float(m * (own - rest) - tables - sharing - number) if math.isfinite(rest) else -math.inf
