"""Which inputs β-LASSO keeps together in one unit, against a null of shuffled supports.

For units u and columns i, q_ui is 1 where the unit keeps the column (or a magnitude, of weights).
Σ_u q_ui q_uj counts the units that keep both. Units that keep much and columns that are kept often
meet often by chance, so the null keeps both margins: the count is compared with what it is on
average if unit u keeps column i with a probability of the form r_u c_i, independently of all else
(Chung and Lu, "Connected components in random graphs with given expected degree sequences", Annals
of Combinatorics 6, 2002; as null of such counts: Saracco et al., "Inferring monopartite projections
of bipartite networks", New J. of Physics 19, 2017).

How likely a score is by chance is not left to a formula, but seen in supports that were shuffled:

- units trained on **disjoint parts of the rows** know nothing of each other but what is true of the
  data. The names of the columns are shuffled in one part, among those kept about as often: if they
  agree as well as the true ones, there is no structure. If not, what one part finds and the other
  does not is chance; such accidents of both, laid on each other by shuffled names, are the null.
  This asks nothing of the units within a part, which share the accidents of their rows;
- units of a **single part** are shuffled one by one, each column and unit keeping its number of
  entries (the curveball: Strona et al., "A fast and unbiased procedure to randomize ecological
  binary matrices with fixed row and column totals", Nature Communications 5, 2014). That tells
  units apart from random ones. Whether what they share is an accident of their rows, it cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from scratchconv.discovery.graph import (
    MAX_COLUMNS,
    Evidence,
    Floats,
    Floats32,
    Integers,
    NeighbourGraph,
)
from scratchconv.errors import InvalidArgument

Support: TypeAlias = NDArray[Any] | sparse.csr_array

NAME = "learned connectivity"
STRUCTURE = 0.01
"""No edge is believed unless some have a false-discovery rate of this or less. (Between parts there
is a sharper test before: `_CERTAIN`.)"""
CONFIDENCE = 0.95
_NULL_SIZE = 2_000_000
"""Scores of shuffled supports, at least: what is rare among d²/2 pairs must be seen to be rare."""
_SHUFFLES = 300, 60
"""At most: of names between parts; of single units, which takes longer."""
_ALIKE = 32
"""Columns kept about as often, among which names are shuffled. Few columns that matter to the
target are then shuffled among themselves: that all units keep them is no structure."""
_AN_ACCIDENT = 1.0
"""Standard deviations up to which other parts are said to find nothing. Not 0: pairs that the null
of margins expects together too often score low in all parts, and are no sample of the others."""
_RENAMINGS = 20
"""At least, and agreement must be this many of their standard deviations better than on average:"""
_CERTAIN = 5.0
_TRADES = 16, 4
"""Trades of every unit until the supports are random, and from one sample to the next."""


def co_selection(
    supports: Sequence[Support], *, parts: Sequence[int] | None = None, seed: int = 0
) -> Evidence:
    """How far beyond chance each pair of columns is kept together.

    Args:
        supports: arrays (units, d), dense or scipy.sparse, of bool or of weights, of which the
            magnitudes count; from as many networks as there are.
        parts: for each of them, which part of the rows it was learned on; parts must have no rows
            in common. None: all on the same rows.
        seed: of the shuffled supports.

    The score of a part is in standard deviations above the mean of the null (`standard_scores`); of
    several parts it is the geometric mean, 0 if one of them is negative: an edge has to be found in
    each. Tails are heavier than normal: `null` tells how far chance goes.

    Raises InvalidArgument: supports that are empty, do not fit each other or are not finite.
    """
    matrices = [_checked(support) for support in supports]
    if not matrices:
        raise InvalidArgument("there are no supports: give at least one array (units, columns)")
    columns = {matrix.shape[1] for matrix in matrices}
    if len(columns) > 1:
        raise InvalidArgument(f"supports have {sorted(columns)} columns: they must agree")
    d = columns.pop()
    if not 2 <= d <= MAX_COLUMNS:
        raise InvalidArgument(f"supports have {d} columns: give 2 to {MAX_COLUMNS}")
    names = [0] * len(matrices) if parts is None else list(parts)
    if len(names) != len(matrices):
        raise InvalidArgument(f"{len(names)} parts for {len(matrices)} supports: give one for each")
    united = [
        sparse.csr_array(sparse.vstack([m for m, p in zip(matrices, names, strict=True) if p == k]))
        for k in sorted(set(names))
    ]
    rng = np.random.default_rng(seed)
    if len(united) == 1:
        score = standard_scores(united[0])
        null = _shuffled_units(united[0], rng)
    else:
        each = [standard_scores(part) for part in united]
        score = _geometric_mean(each)
        usage = np.sum([_column_sums(part) for part in united], axis=0)
        null = _coincidences(each, usage, rng)
    return Evidence(score, null, NAME)


def learned_graph(
    supports: Sequence[Support],
    *,
    parts: Sequence[int] | None = None,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> NeighbourGraph:
    """The pairs kept together beyond chance, at a false-discovery rate of 1 − `confidence`.

    As `co_selection`, then `significant_edges`.
    """
    return significant_edges(co_selection(supports, parts=parts, seed=seed), confidence=confidence)


def significant_edges(
    evidence: Evidence, *, confidence: float = CONFIDENCE, structure: float = STRUCTURE
) -> NeighbourGraph:
    """The pairs whose scores the null sample does not explain.

    p-values are ranks in the sample, (1 + scores as high) / (1 + size). False-discovery rates over
    all pairs: Benjamini and Hochberg, J. Royal Statistical Society B 57 (1995). No edge if none
    has a rate of `structure` or less.
    """
    if not 0 <= confidence < 1:
        raise InvalidArgument(f"confidence {confidence} must be at least 0 and below 1")
    first, second = np.triu_indices(evidence.columns, 1)
    strength = evidence.score[first, second]
    order, rates = _false_discovery_rates(strength, np.sort(evidence.null))
    if not len(rates) or rates[0] > structure:
        return NeighbourGraph.empty(evidence.columns)
    kept = order[rates <= 1 - confidence]
    edges = np.stack([first[kept], second[kept]], axis=1).astype(np.int64)
    return NeighbourGraph.ordered(
        evidence.columns, edges, 1 - rates[: len(kept)], strength[kept].astype(np.float64)
    )


def standard_scores(support: sparse.csr_array) -> Floats32:
    """(d, d) The sums Σ_u q_ui q_uj, less their mean and over their deviation under the null.

    With column sums c_i of q, row sums r_u and their total T, and the same of q² (c', r', T'):
    mean c_i c_j Σr²/T², variance at most c'_i c'_j Σr'²/T'², which is what a few entries of many
    come to. Σ r_u² leaves out what a unit's entries have with themselves.
    """
    squares = support.multiply(support)
    counts = np.asarray((support.T @ support).todense(), np.float32)
    mean, c = _pair_rate(support, squares), _column_sums(support)
    variance, c2 = _pair_rate(squares, squares.multiply(squares)), _column_sums(squares)
    expected = np.outer(mean * c, c).astype(np.float32)
    # A variance far below that of a single unit in d² pairs is none that can be estimated.
    deviation = np.sqrt(np.outer(variance * c2, c2).astype(np.float32).clip(1e-4))
    scores = (counts - expected) / deviation
    np.fill_diagonal(scores, 0)
    return np.asarray(scores)


def _pair_rate(support: sparse.csr_array, squares: sparse.csr_array) -> float:
    """Σ_u (r_u² − Σ_i q_ui²) / (T² − Σ_i c_i²): the pairs there are over the pairs c_i c_j."""
    rows, columns = support.sum(axis=1), _column_sums(support)
    pairs = float((rows**2).sum() - squares.sum())
    chances = float(columns.sum() ** 2 - (columns**2).sum())
    return max(pairs, 0.0) / chances if chances > 0 else 0.0


def shuffled(
    support: sparse.csr_array, rng: np.random.Generator, trades: int = _TRADES[0]
) -> sparse.csr_array:
    """The same numbers of entries in every row and column, otherwise at random.

    Global curveball trades: rows are paired at random, and what only one of the two has is dealt
    out anew between them. A value keeps its column.
    """
    if not support.nnz:
        return support
    units, d = support.shape
    rows = np.repeat(np.arange(units), np.diff(support.indptr))
    columns, values = support.indices.astype(np.int64), support.data
    for _ in range(trades):
        place = rng.permutation(units)
        pair = place[rows] // 2
        order = np.lexsort((columns, pair))
        rows, columns, values, pair = rows[order], columns[order], values[order], pair[order]
        same = (pair[1:] == pair[:-1]) & (columns[1:] == columns[:-1])
        free = np.flatnonzero(~(np.append(same, False) | np.insert(same, 0, False)))
        # The rows' names stay in their order within a pair, and the entries come in a random one.
        dealt = free[np.lexsort((rng.random(len(free)), pair[free]))]
        rows[dealt] = rows[free[np.lexsort((rows[free], pair[free]))]]
    return sparse.csr_array((values, (rows, columns)), shape=(units, d))


def _shuffled_units(support: sparse.csr_array, rng: np.random.Generator) -> Floats32:
    upper = np.triu_indices(support.shape[1], 1)
    count = int(np.clip(_NULL_SIZE // len(upper[0]), 1, _SHUFFLES[1]))
    draws = []
    for k in range(count):
        support = shuffled(support, rng, _TRADES[min(k, 1)])
        draws.append(standard_scores(support)[upper])
    return np.sort(np.concatenate(draws))


def _coincidences(each: Sequence[Floats32], usage: Floats, rng: np.random.Generator) -> Floats32:
    """Scores of pairs on which the parts agree by chance, sorted.

    Chance is laid on chance by renaming the columns of all parts but one. If the true names agree
    no better than renamings do (Mantel's test, Cancer Research 27, 1967), their agreement is chance
    as well, and it is the sample: nothing exceeds it. Else there is structure. A part's accidents
    are then what it scores where the others find next to nothing: its true neighbours, which score
    in all parts, would be no chance if they were laid on the others'.
    """
    upper = np.triu_indices(len(usage), 1)
    count = int(np.clip(_NULL_SIZE // len(upper[0]) + 1, _RENAMINGS, _SHUFFLES[0]))
    orders = [[_renamed(usage, rng) for _ in each[1:]] for _ in range(count)]
    true = np.arange(len(usage))  # of few columns, a renaming may well be none
    orders = [names for names in orders if not all(np.array_equal(name, true) for name in names)]
    enough = orders[: _NULL_SIZE // len(upper[0]) + 1]

    def renamed(parts: Sequence[Floats32], names: Sequence[Integers]) -> Floats32:
        others = [part[np.ix_(name, name)] for part, name in zip(parts[1:], names, strict=True)]
        return _geometric_mean([parts[0], *others])

    score = _geometric_mean(each)
    by_chance = np.array([renamed(each, names).sum() for names in orders])
    bound = max(by_chance.max(), by_chance.mean() + _CERTAIN * by_chance.std())
    if score.sum() <= bound:
        return np.sort(score[upper])
    parts = []
    for k, part in enumerate(each):
        others = _geometric_mean([*each[:k], *each[k + 1 :]])
        parts.append(np.where(others > _AN_ACCIDENT, np.float32(np.nan), part))
    scores = np.concatenate([renamed(parts, names)[upper] for names in enough])
    return np.sort(scores[~np.isnan(scores)])


def _renamed(usage: Floats, rng: np.random.Generator) -> Integers:
    """A random order of the columns in which each stands for one that is used about as much."""
    ranked = np.lexsort((rng.random(len(usage)), usage))
    order = np.empty(len(usage), np.int64)
    # Blocks of other bounds each time, and none that is much smaller than the rest.
    bounds = np.arange(int(rng.integers(_ALIKE)), len(usage) - _ALIKE // 2, _ALIKE)
    for block in np.split(ranked, bounds[bounds > _ALIKE // 2]):
        order[block] = rng.permutation(block)
    return order


def _false_discovery_rates(strength: Floats32, null: Floats32) -> tuple[Integers, Floats]:
    """(order, rates): the pairs that may be significant, strongest first, and their rates."""
    order = np.argsort(-strength, kind="stable")
    order = order[: np.count_nonzero(strength > 0)]
    above = len(null) - np.searchsorted(null, strength[order])
    p_values = (1 + above) / (1 + len(null))
    rates = p_values * len(strength) / np.arange(1, len(order) + 1)
    return order, np.minimum(np.minimum.accumulate(rates[::-1])[::-1], 1.0)


def _geometric_mean(scores: Sequence[Floats32]) -> Floats32:
    product = scores[0].clip(0)
    for part in scores[1:]:
        product = product * part.clip(0)
    return np.asarray(product ** np.float32(1 / len(scores)))


def _column_sums(support: sparse.csr_array) -> Floats:
    return np.asarray(support.sum(axis=0), np.float64)


def _checked(support: Support) -> sparse.csr_array:
    matrix = sparse.csr_array(support)
    if matrix.ndim != 2:
        raise InvalidArgument(f"a support has shape {matrix.shape}: give (units, columns)")
    if matrix.dtype.kind not in "buif" or not np.isfinite(matrix.data).all():
        raise InvalidArgument("a support holds NaN, infinity or what is no number")
    matrix = abs(matrix.astype(np.float64))
    matrix.eliminate_zeros()
    return matrix
