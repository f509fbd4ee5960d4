"""A grid put together piece by piece, as a jigsaw puzzle is.

A map drawn of all distances at once is bent by every wrong edge: where strokes are slanted, whole
regions of a picture slide by a cell. Here a position is placed only when edges to those already
placed agree on its cell, the one most agreed on first, so that a diagonal is outvoted by the steps
around it. What was begun in a bad place goes wrong, so it is begun in many; what does not fit in
the best of them is taken out again, with what lies around it, and placed anew, as long as that
helps (ruin and recreate: Schrimpf et al., J. Computational Physics 159, 2000).
"""

from __future__ import annotations

import heapq
from collections import Counter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scratchconv.discovery.graph import Integers

Cell: TypeAlias = tuple[int, int]
Cells: TypeAlias = dict[int, Cell]
"""Cell by position."""

BEGINNINGS = 100
RUINS = 600
_RADII = 2, 8
_STEPS = ((1, 0), (-1, 0), (0, 1), (0, -1))
_AROUND = tuple((row, column) for row in (-1, 0, 1) for column in (-1, 0, 1))


def put_together(
    scores: NDArray[Any],
    edges: Integers,
    first: Cells | None = None,
    *,
    beginnings: int = BEGINNINGS,
    ruins: int = RUINS,
) -> tuple[Integers, Integers]:
    """Positions on a grid on which as many edges as can be found are single steps.

    Args:
        scores: (positions, positions): between cells that edges agree on alike, those whose
            surroundings belong to the position more strongly win.
        edges: int64 (m, 2), of which most are single steps of a grid.
        first: a placement to begin with, beside those that are put together.
        beginnings: squares of four edges to begin at, at most.
        ruins: how often a part is taken out.

    Returns the positions that were placed, int64 (n,), and their cells, int64 (n, 2), from 0; none
    where there is neither a square to begin at nor a placement. The same arguments give the same.
    """
    jigsaw = _Jigsaw(scores, edges)
    placements = [] if first is None else [jigsaw.grown(first)]
    for start in np.unique(np.linspace(0, len(edges) - 1, beginnings).astype(np.int64)):
        square = jigsaw.square(*edges[start].tolist())
        if square is not None:
            placements.append(jigsaw.grown(square))
    if not placements:
        return np.zeros(0, np.int64), np.zeros((0, 2), np.int64)
    best = max(placements, key=jigsaw.fitting)
    most = jigsaw.fitting(best)
    random = np.random.default_rng(0)
    for _ in range(ruins):
        ruined = jigsaw.ruined(best, random)
        if ruined is None:
            break
        again = jigsaw.grown(ruined)
        fitting = jigsaw.fitting(again)
        if fitting >= most:
            best, most = again, fitting
    placed = np.array(sorted(best), np.int64)
    cells = np.array([best[position] for position in placed.tolist()], np.int64)
    return placed, cells - cells.min(axis=0)


class _Jigsaw:
    """The pieces: positions, and which of them edges say are side by side."""

    def __init__(self, scores: NDArray[Any], edges: Integers) -> None:
        self.scores = scores
        self.edges: list[tuple[int, int]] = [(i, j) for i, j in edges.tolist()]
        self.neighbours: list[list[int]] = [[] for _ in scores]
        for i, j in self.edges:
            self.neighbours[i].append(j)
            self.neighbours[j].append(i)

    def square(self, i: int, j: int) -> Cells | None:
        """Four positions around which edges lead, i and j among them, and none across."""
        for k in self.neighbours[i]:
            if k == j or k in self.neighbours[j]:
                continue
            for corner in self.neighbours[j]:
                across = corner == i or corner in self.neighbours[i]
                if corner in self.neighbours[k] and not across:
                    return {i: (0, 0), j: (0, 1), k: (1, 0), corner: (1, 1)}
        return None

    def fitting(self, cells: Cells) -> int:
        """The number of edges that are single steps."""
        return sum(self._is_step(cells, *edge) for edge in self.edges)

    def grown(self, begun: Cells) -> Cells:
        """Everything placed that edges lead to, the position most agreed on first."""
        cells = dict(begun)
        taken = {cell: position for position, cell in cells.items()}
        waiting: list[tuple[float, int, int, int]] = []
        asked: Counter[int] = Counter()

        def ask(position: int) -> None:
            votes = self._votes(position, cells, taken)
            if not votes:
                return
            most = max(votes.values())
            against = sum(other in cells for other in self.neighbours[position]) - most
            alike = sum(count == most for count in votes.values())
            asked[position] += 1
            heapq.heappush(waiting, (against / 2 - most, alike, position, asked[position]))

        def ask_around(position: int) -> None:
            for other in self.neighbours[position]:
                if other not in cells:
                    ask(other)

        for position in begun:
            ask_around(position)
        while waiting:
            _, _, position, number = heapq.heappop(waiting)
            if position in cells or number != asked[position]:
                continue
            votes = self._votes(position, cells, taken)
            if not votes:
                continue
            most = max(votes.values())
            agreed = [cell for cell, count in votes.items() if count == most]
            cell = max(agreed, key=lambda cell: self._belonging(position, cell, taken))
            cells[position], taken[cell] = cell, position
            ask_around(position)
        return cells

    def ruined(self, cells: Cells, random: np.random.Generator) -> Cells | None:
        """Without a square of random size around an edge's end that is no step; None if all are."""
        ends = sorted(
            {
                end
                for i, j in self.edges
                if i in cells and j in cells and not self._is_step(cells, i, j)
                for end in (i, j)
            }
        )
        if not ends:
            return None
        row, column = cells[ends[int(random.integers(len(ends)))]]
        radius = int(random.integers(*_RADII))
        left = {
            position: cell
            for position, cell in cells.items()
            if max(abs(cell[0] - row), abs(cell[1] - column)) > radius
        }
        return left or cells

    def _votes(self, position: int, cells: Cells, taken: dict[Cell, int]) -> Counter[Cell]:
        """For each free cell, the neighbours that it would be a step from."""
        votes: Counter[Cell] = Counter()
        for other in self.neighbours[position]:
            if other in cells:
                row, column = cells[other]
                for down, right in _STEPS:
                    cell = row + down, column + right
                    if cell not in taken:
                        votes[cell] += 1
        return votes

    def _belonging(self, position: int, cell: Cell, taken: dict[Cell, int]) -> float:
        around = (taken.get((cell[0] + down, cell[1] + right)) for down, right in _AROUND)
        return sum(float(self.scores[position, other]) for other in around if other is not None)

    def _is_step(self, cells: Cells, i: int, j: int) -> bool:
        first, second = cells.get(i), cells.get(j)
        if first is None or second is None:
            return False
        return abs(first[0] - second[0]) + abs(first[1] - second[1]) == 1
