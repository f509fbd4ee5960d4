"""What `discover` finds out about a table: everything that its page shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scratchconv.data.dataset import Task
from scratchconv.discovery.comparison import Compared
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.graph import Floats32, Integers, NeighbourGraph
from scratchconv.discovery.sharing import Sharing


@dataclass(frozen=True)
class Recovery:
    """How much of a geometry that is known was found.

    precision, recall: of the edges among positions, against single steps of the true geometry.
    rank_correlation: Spearman's, of the distances between all positions.
    procrustes_error: share of the variance of the true coordinates that is left; NaN where the
        geometry that was found is a map of fewer or more dimensions.
    channels: the share of columns that lie at one position with exactly those that truly do.
    """

    precision: float
    recall: float
    rank_correlation: float
    procrustes_error: float
    channels: float


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found, and the evidence.

    names: of the d columns.
    rows: training rows that were looked at.
    task: of the target; None without one.
    constant: int64, columns of one value only.
    graphs: neighbours among the positions of `geometry`, by source: "data", "labels", and where
        both were asked, "both".
    graph: the one of them that the geometry is read from, corrected by it; among positions.
    geometry: where the positions lie, and which columns share one.
    receptive_fields: float32 (units, d), first-layer weights that β-LASSO left, the strongest unit
        first; no rows without a target.
    sharing: dense, sparse, local or shared, in bits; None without a target.
    networks: each with its accuracy; empty without a target, or if they were not asked for.
    recovery: None where the true geometry is not known.
    seconds: that each stage took, by its name, in order.
    test_rows: that the networks were tested on; 0 without networks, or if it was not noted.
    """

    names: tuple[str, ...]
    rows: int
    task: Task | None
    constant: Integers
    graphs: Mapping[str, NeighbourGraph]
    graph: NeighbourGraph
    geometry: Geometry
    receptive_fields: Floats32
    sharing: Sharing | None
    networks: tuple[Compared, ...]
    recovery: Recovery | None
    seconds: Mapping[str, float]
    test_rows: int = 0

    @property
    def columns(self) -> int:
        return len(self.names)
