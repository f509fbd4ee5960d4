"""What is known of neighbours: scores of all pairs, and the graph of those that are believed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scratchconv.errors import InvalidArgument

Floats: TypeAlias = NDArray[np.float64]
Floats32: TypeAlias = NDArray[np.float32]
Integers: TypeAlias = NDArray[np.int64]

MAX_COLUMNS = 4096
"""Nothing here is larger than a few d×d matrices of float32: 64 MB each at 4096 columns."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """How strongly each pair of columns appears to belong together, from one source.

    score: float32 (d, d), symmetric, the diagonal without meaning (0). In standard deviations of
        the null hypothesis above its mean.
    null: float32 (any number,), scores as the null hypothesis has them, sampled.
    name: of the source, for reports.
    """

    score: Floats32
    null: Floats32
    name: str

    def __post_init__(self) -> None:
        if self.score.ndim != 2 or self.score.shape[0] != self.score.shape[1]:
            raise InvalidArgument(
                f"the scores of {self.name!r} have shape {self.score.shape}: give (d, d)"
            )

    @property
    def columns(self) -> int:
        return len(self.score)

    @cached_property
    def _sorted_null(self) -> Floats32:
        return np.sort(self.null, kind="stable")

    def p_values(self, pairs: Integers) -> Floats:
        """The chance of such a score or a higher one: pairs (m, 2) -> (m,).

        The rank in the null sample, (1 + scores as high) / (1 + size): never below one over its
        size. A score of 0 or less is what chance gives on average, and has 1.
        """
        score = self.score[pairs[:, 0], pairs[:, 1]]
        above = len(self.null) - np.searchsorted(self._sorted_null, score)
        return np.where(score > 0, (1 + above) / (1 + len(self.null)), 1.0)


@dataclass(frozen=True, eq=False)
class NeighbourGraph:
    """Which columns are neighbours of which, most certain first.

    columns: d, with or without neighbours.
    edges: int64 (m, 2), i < j.
    confidence: float64 (m,) in [0, 1], falling: 1 − the share of false edges to be expected among
        this one and all those before it.
    strength: float64 (m,), the score of the pair: how far above the null, in standard deviations.
    """

    columns: int
    edges: Integers
    confidence: Floats
    strength: Floats

    def __post_init__(self) -> None:
        m = len(self.edges)
        if (
            self.edges.shape != (m, 2)
            or self.confidence.shape != (m,)
            or self.strength.shape != (m,)
        ):
            raise InvalidArgument(
                f"edges {self.edges.shape}, confidence {self.confidence.shape} and strength "
                f"{self.strength.shape} do not fit: give (m, 2), (m,) and (m,)"
            )
        first, second = self.edges[:, 0], self.edges[:, 1]
        if m and not (first.min() >= 0 and (first < second).all() and second.max() < self.columns):
            raise InvalidArgument(f"every edge must be i < j among the {self.columns} columns")

    def __len__(self) -> int:
        return len(self.edges)

    @staticmethod
    def empty(columns: int) -> NeighbourGraph:
        """The graph of columns that have no neighbours."""
        return NeighbourGraph(columns, np.zeros((0, 2), np.int64), np.zeros(0), np.zeros(0))

    @staticmethod
    def ordered(
        columns: int, edges: Integers, confidence: Floats, strength: Floats
    ) -> NeighbourGraph:
        """A graph of edges in any order and direction: sorted by confidence, then strength."""
        order = np.lexsort((edges[:, 1], edges[:, 0], -strength, -confidence))
        sorted_edges = np.sort(edges, axis=1)[order].astype(np.int64)
        return NeighbourGraph(columns, sorted_edges, confidence[order], strength[order])

    def at_least(self, confidence: float) -> NeighbourGraph:
        """Only the edges of this confidence or more."""
        if not 0 <= confidence <= 1:
            raise InvalidArgument(f"confidence {confidence} must be between 0 and 1")
        kept = self.confidence >= confidence
        return NeighbourGraph(
            self.columns, self.edges[kept], self.confidence[kept], self.strength[kept]
        )

    def adjacency(self) -> Any:
        """A symmetric scipy.sparse CSR array (d, d) of float64, 1 where there is an edge."""
        from scipy.sparse import csr_array

        first, second = self.edges[:, 0], self.edges[:, 1]
        rows, columns = np.concatenate([first, second]), np.concatenate([second, first])
        ones = np.ones(len(rows))
        return csr_array((ones, (rows, columns)), shape=(self.columns, self.columns))

    def neighbours(self, column: int) -> Integers:
        """The neighbours of one column, most certain first."""
        if not 0 <= column < self.columns:
            raise InvalidArgument(f"column {column} must be one of 0 … {self.columns - 1}")
        touching = self.edges[(self.edges == column).any(axis=1)]
        return np.asarray(touching.sum(axis=1) - column)
