"""How much of a known geometry was found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scratchconv.discovery.graph import Floats, Integers
from scratchconv.errors import InvalidArgument


@dataclass(frozen=True)
class EdgeRecovery:
    """precision: the part of the found edges that are true; 1 if none was found.
    recall: the part of the true edges that were found; 1 if there are none.
    """

    precision: float
    recall: float


def edge_recovery(found: ArrayLike, true: ArrayLike) -> EdgeRecovery:
    """Hold the edges found (m, 2) against the true ones (t, 2), whatever their direction."""
    ours, theirs = _pairs(found), _pairs(true)
    right = len(ours & theirs)
    return EdgeRecovery(right / len(ours) if ours else 1.0, right / len(theirs) if theirs else 1.0)


def _pairs(edges: ArrayLike) -> set[tuple[int, int]]:
    pairs = np.asarray(edges)
    if pairs.size == 0:
        return set()
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise InvalidArgument(f"edges of shape {pairs.shape}: give (edges, 2)")
    return {(min(i, j), max(i, j)) for i, j in pairs.tolist()}


def true_grid_edges(*shape: int, closed: bool = False) -> Integers:
    """The pairs of neighbours of a line (n), a ring (n, closed), or a grid (h, w): int64 (t, 2).

    Positions are numbered row by row. `closed` joins the ends of every axis.
    """
    if not shape or min(shape) < 1:
        raise InvalidArgument(f"shape {shape} of a grid: give one or more extents of at least 1")
    number = np.arange(np.prod(shape)).reshape(shape)
    pairs = []
    for axis, extent in enumerate(shape):
        at = np.moveaxis(number, axis, 0)
        pairs.append(np.stack([at[:-1].ravel(), at[1:].ravel()], axis=1))
        if closed and extent > 2:
            pairs.append(np.stack([at[0].ravel(), at[-1].ravel()], axis=1))
    return np.concatenate(pairs).astype(np.int64)


def rank_correlation(found: Floats, true: Floats) -> float:
    """Spearman's correlation of two distance matrices (m, m), over all pairs i < j.

    Positions whose distances are NaN in either are left out. NaN if fewer than three are left.
    """
    from scipy.stats import spearmanr

    if found.shape != true.shape or found.ndim != 2 or found.shape[0] != found.shape[1]:
        raise InvalidArgument(
            f"distances {found.shape} and {true.shape} do not fit: give two of (m, m)"
        )
    upper = np.triu_indices(len(found), 1)
    ours, theirs = found[upper], true[upper]
    both = np.isfinite(ours) & np.isfinite(theirs)
    if both.sum() < 3:
        return float("nan")
    return float(spearmanr(ours[both], theirs[both]).statistic)


def procrustes_error(found: Floats, true: Floats) -> float:
    """The part of the variance of `true` (m, k) that `found`, moved to lie over it, leaves.

    0 recovered, 1 as good as all in one point. `found` (m, k or fewer) may be shifted, turned,
    mirrored and scaled (Gower, "Generalized Procrustes analysis", Psychometrika 40, 1975). Rows
    that are not finite in either are left out.
    """
    from scipy.linalg import orthogonal_procrustes

    if found.ndim != 2 or true.ndim != 2 or len(found) != len(true):
        raise InvalidArgument(
            f"coordinates {found.shape} and {true.shape} do not fit: give a row for each position"
        )
    if found.shape[1] > true.shape[1]:
        raise InvalidArgument(
            f"{found.shape[1]} coordinates found of {true.shape[1]} true ones: give no more"
        )
    kept = np.isfinite(found).all(axis=1) & np.isfinite(true).all(axis=1)
    if kept.sum() < 2:
        return float("nan")
    ours, theirs = np.zeros((int(kept.sum()), true.shape[1])), true[kept]
    ours[:, : found.shape[1]] = found[kept]
    ours, theirs = ours - ours.mean(axis=0), theirs - theirs.mean(axis=0)
    scale = np.linalg.norm(ours) * np.linalg.norm(theirs)
    if scale == 0:
        return 1.0
    _, agreement = orthogonal_procrustes(ours, theirs)
    return float(max(1 - (agreement / scale) ** 2, 0.0))
