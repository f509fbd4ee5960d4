"""Columns that share a position, as the three colours of one pixel do.

If every position holds c columns that depend on each other more than on any other column, then the
c − 1 columns that are nearest to each of them are the others: the columns fall into closed cliques
of size c. Without channels some columns are each other's nearest by chance, but of points strewn
on a line, or in more dimensions, no more than two thirds (Cox, "Reflexive nearest neighbours",
Biometrics 37, 1981; Pickard, J. of Applied Probability 19, 1982). Channels are believed where
more are.

Nearest in what? Neighbouring pixels of one colour can be more alike than two colours of one pixel,
so besides the dependence itself the correlations are looked at with what most columns share taken
out: those of (C + ρ)^(−1), softened partial correlations, at several ρ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scratchconv.discovery.dependence import Dependence
from scratchconv.discovery.graph import Evidence, Floats32, Integers

_SOFTENING = (0.03, 0.1, 0.3, 1.0)
_MOST_CHANNELS = 8
_BY_CHANCE = 2 / 3
_DEVIATIONS = 4.0
"""How many standard deviations above two thirds the share of columns in cliques must lie."""
_VOTERS = 8
"""So many of the nearest positions say which channel of a position is which."""


@dataclass(frozen=True, eq=False)
class Channels:
    """Which columns share a position.

    count: columns of each position; 1 if there are no channels.
    position_of: int64 (d,), the position of each column, numbered from 0.
    channel_of: int64 (d,), 0 … count − 1, the same at every position as far as neighbours tell.
    share: the part of the columns that lie in closed cliques, which was believed or not.
    """

    count: int
    position_of: Integers
    channel_of: Integers
    share: float

    @property
    def positions(self) -> int:
        return int(self.position_of.max()) + 1

    def members(self) -> Integers:
        """The column of each position and channel: int64 (positions, count), −1 where none is."""
        table = np.full((self.positions, self.count), -1, np.int64)
        table[self.position_of, self.channel_of] = np.arange(len(self.position_of))
        return table


def find_channels(found: Dependence, live: NDArray[np.bool_]) -> Channels:
    """Group the columns by position, if they fall into cliques. `live` (d,): not constant.

    Without channels, or with fewer than 2·c live columns, every column is its own position.
    """
    d = found.columns
    columns = np.flatnonzero(live)
    best_share: float = 0.0
    best: tuple[Floats32, int, list[frozenset[int]]] | None = None
    for nearness in _nearness(found, columns):
        nearest = _nearest(nearness, _MOST_CHANNELS)
        for size in range(min(_MOST_CHANNELS, len(columns) // 2), 1, -1):
            cliques = _closed_cliques(nearest, size)
            share = len(cliques) * size / len(columns)
            if share > best_share and _significant(found, columns, cliques):
                best_share, best = share, (nearness, size, cliques)
    chance = np.sqrt(_BY_CHANCE * (1 - _BY_CHANCE) / max(len(columns), 1))
    if best is None or best_share < min(_BY_CHANCE + _DEVIATIONS * chance, 1.0):
        return Channels(1, np.arange(d), np.zeros(d, np.int64), best_share)
    nearness, size, cliques = best
    scores = found.score[np.ix_(columns, columns)]
    groups = [columns[list(each)] for each in _peeled(nearness, scores, size, cliques)]
    return _numbered(found, groups, best_share)


def position_scores(found: Dependence | Evidence, channels: Channels) -> Floats32:
    """The dependence of positions: the root of the sum of squares of their columns' scores.

    float32 (positions, positions), the diagonal 0. Scores below the null mean count as 0.
    """
    positive = np.maximum(found.score, 0.0)
    if channels.count == 1:
        return positive
    positive **= 2
    order = np.argsort(channels.position_of, kind="stable")
    starts = np.searchsorted(channels.position_of[order], np.arange(channels.positions))
    by_row = np.add.reduceat(positive[order], starts, axis=0)
    summed = np.add.reduceat(by_row[:, order], starts, axis=1)
    scores = np.sqrt(summed)
    np.fill_diagonal(scores, 0.0)
    return np.asarray(scores)


def _nearness(found: Dependence, columns: Integers) -> Iterator[Floats32]:
    within = np.ix_(columns, columns)
    yield found.score[within]
    yield np.abs(found.linear[within])
    linear = found.linear[within]
    for softening in _SOFTENING:
        softened = linear + softening * np.eye(len(columns), dtype=np.float32)
        inverse = softening * np.linalg.inv(softened)
        scale = np.sqrt(np.maximum(1 - np.diag(inverse), 1e-6))
        yield np.abs(inverse / scale / scale[:, None])


def _nearest(nearness: Floats32, size: int) -> Integers:
    """The size − 1 columns nearest to each, nearest first: (columns, size − 1 or all others)."""
    count = min(size, len(nearness)) - 1
    others = nearness.copy()
    np.fill_diagonal(others, -np.inf)
    nearest = np.argpartition(-others, max(count - 1, 0), axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(others, nearest, axis=1), axis=1, kind="stable")
    return np.take_along_axis(nearest, order, axis=1)


def _closed_cliques(nearest: Integers, size: int) -> list[frozenset[int]]:
    """The sets of `size` columns whose nearest size − 1 are all each other."""
    if nearest.shape[1] < size - 1:
        return []
    near = nearest[:, : size - 1].tolist()
    sets = Counter(frozenset((i, *row)) for i, row in enumerate(near))
    return [each for each, times in sets.items() if times == size]


def _significant(
    found: Dependence, columns: Integers, cliques: list[frozenset[int]], level: float = 1e-4
) -> bool:
    """Are half of the cliques' nearest pairs more dependent than chance allows all pairs?"""
    if not cliques:
        return False
    pairs = np.array([sorted(each)[:2] for each in cliques])
    all_pairs = len(columns) * (len(columns) - 1) / 2
    return bool(np.median(found.p_values(columns[pairs])) * all_pairs < level)


def _peeled(
    nearness: Floats32, scores: Floats32, size: int, cliques: list[frozenset[int]]
) -> list[tuple[int, ...]]:
    """Take the cliques away and look again among the rest, then join what is left by nearness.

    Columns of one position are also those that are alike in what they depend on: once there are
    positions, the rest is compared by its scores with them as well.
    """
    rest = np.arange(len(nearness))
    done: list[tuple[int, ...]] = []
    measure, by_profile = nearness, np.empty(0, np.float32)
    while True:
        done += [tuple(sorted(rest[list(each)].tolist())) for each in cliques]
        rest = np.setdiff1d(np.arange(len(nearness)), [i for each in done for i in each])
        if not cliques and measure is by_profile:
            return done + _joined(nearness * by_profile, rest, size)
        if cliques:
            measure = nearness
        else:
            measure = by_profile = _profile_likeness(scores, rest, done, len(nearness))
        if len(rest) < size:
            return done + _joined(nearness, rest, size)
        cliques = _closed_cliques(_nearest(measure[np.ix_(rest, rest)], size), size)


def _profile_likeness(
    scores: Floats32, rest: Integers, done: list[tuple[int, ...]], columns: int
) -> Floats32:
    """Cosine of what two of the `rest` depend on among the positions of `done`: (columns, columns).

    Only the strongest scores tell one position from the next, hence the squares.
    """
    profile = np.stack([scores[np.ix_(rest, np.array(each))].mean(axis=1) for each in done], axis=1)
    profile = np.maximum(profile, 0.0) ** 2
    profile -= profile.mean(axis=1, keepdims=True)
    profile /= np.maximum(np.linalg.norm(profile, axis=1, keepdims=True), 1e-12)
    likeness = np.zeros((columns, columns), np.float32)
    likeness[np.ix_(rest, rest)] = profile @ profile.T
    return likeness


def _joined(nearness: Floats32, rest: Integers, size: int) -> list[tuple[int, ...]]:
    """Join the nearest of `rest` first, to groups of `size` at most."""
    first, second = np.triu_indices(len(rest), 1)
    order = np.argsort(-nearness[rest[first], rest[second]], kind="stable")
    group = {i: (i,) for i in rest.tolist()}
    for a, b in zip(rest[first[order]].tolist(), rest[second[order]].tolist(), strict=True):
        if group[a] is not group[b] and len(group[a]) + len(group[b]) <= size:
            joined = tuple(sorted(group[a] + group[b]))
            group.update(dict.fromkeys(joined, joined))
    return list(set(group.values()))


def _numbered(found: Dependence, groups: list[Integers], share: float) -> Channels:
    """Positions in the order of their first column, channels matched between neighbours."""
    d, count = found.columns, max(map(len, groups))
    alone = np.setdiff1d(np.arange(d), np.concatenate(groups))
    every = sorted([*groups, *alone[:, None]], key=lambda columns: int(columns[0]))
    position_of, channel_of = np.zeros(d, np.int64), np.zeros(d, np.int64)
    for position, columns in enumerate(every):
        position_of[columns] = position
        channel_of[columns] = np.arange(len(columns))
    first = Channels(count, position_of, channel_of, share)
    full = np.array([len(columns) == count for columns in every])
    _match_channels(first, found.linear, position_scores(found, first), full)
    return first


def _match_channels(
    channels: Channels, linear: Floats32, scores: Floats32, full: NDArray[np.bool_]
) -> None:
    """Renumber the channels of each full position to agree with the positions nearest to it.

    The position with the strongest neighbours begins; the next is always the one nearest to any
    that is numbered, so that what is certain goes first.
    """
    from scipy.optimize import linear_sum_assignment

    members = channels.members()
    positions = np.flatnonzero(full)
    nearness = scores[np.ix_(positions, positions)].copy()
    reach = nearness.max(axis=1)
    numbered = np.zeros(len(positions), bool)
    for turn in range(len(positions)):
        at = int(np.argmax(np.where(numbered, -np.inf, reach)))
        if turn == 0:
            reach[:] = -np.inf
        else:
            known = np.flatnonzero(numbered)
            voters = known[np.argsort(-nearness[at, known], kind="stable")[:_VOTERS]]
            own = members[positions[at]]
            votes = sum(linear[np.ix_(own, members[positions[voter]])] for voter in voters)
            _, channel = linear_sum_assignment(-np.asarray(votes))
            channels.channel_of[own] = channel
            members[positions[at], channel] = own.copy()
        numbered[at] = True
        np.maximum(reach, nearness[at], out=reach)
