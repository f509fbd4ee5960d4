"""Neighbours and places of the columns, from the data, from the labels, or from both."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from scratchconv.discovery.channels import Channels, find_channels
from scratchconv.discovery.co_selection import co_selection
from scratchconv.discovery.combining import (
    PositionEvidence,
    combined_evidence,
    data_evidence,
    label_evidence,
)
from scratchconv.discovery.dependence import Dependence
from scratchconv.discovery.geometry import Geometry, find_geometry
from scratchconv.discovery.graph import Evidence, NeighbourGraph
from scratchconv.discovery.learning import FEWEST_ROWS, STEPS, learned_supports
from scratchconv.discovery.targets import Targets
from scratchconv.discovery.unsupervised import reread_edges
from scratchconv.errors import InvalidArgument, unknown_name

Source: TypeAlias = Literal["data", "labels", "both"]
Asked: TypeAlias = Literal["auto", "data", "labels", "both"]
_FITS = 0.99
"""A geometry that agrees with the edges as well as this leaves nothing to be tried."""
SOURCES: tuple[Asked, ...] = ("auto", "data", "labels", "both")


@dataclass(frozen=True, eq=False)
class Located:
    """Where the columns lie, and who says so.

    source: whose edges the geometry is read from: "data", "labels" or "both".
    graphs: neighbours among the positions, by source, as each has them.
    graph: that of `source`, as the geometry corrects it.
    geometry, channels: of the columns.
    """

    source: Source
    graphs: Mapping[Source, NeighbourGraph]
    graph: NeighbourGraph
    geometry: Geometry
    channels: Channels


def checked_source(source: Asked, targets: object, rows: int) -> Source:
    """What to ask: "auto" is both where there are `targets` and rows to learn from, else the data.

    Raises InvalidArgument: another name, or labels that are asked and missing.
    """
    if source not in SOURCES:
        raise unknown_name("source", source, SOURCES)
    if source == "auto":
        return "data" if targets is None or rows < FEWEST_ROWS else "both"
    if source != "data" and targets is None:
        raise InvalidArgument(
            f"source is {source!r}, but there are no labels: give y, or source='data'"
        )
    return source


def checked_variables(variables: Sequence[str] | None, columns: int) -> tuple[str, ...] | None:
    """`variables` as `located` takes them. Raises InvalidArgument: not one for each column."""
    if variables is None:
        return None
    if len(variables) != columns:
        raise InvalidArgument(
            f"{len(variables)} variables for {columns} columns: name one for each"
        )
    return tuple(variables)


def learned_evidence(
    table: NDArray[Any],
    targets: Targets,
    *,
    rounds: int = 2,
    steps: int = STEPS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Evidence:
    """What the labels teach of every pair of columns: `learned_supports`, then `co_selection`."""
    kept = learned_supports(
        table,
        targets.values,
        classification=targets.task == "classification",
        rounds=rounds,
        steps=steps,
        seed=seed,
        progress=progress,
    )
    return co_selection(kept.weights, parts=kept.parts, seed=seed)


def located(
    found: Dependence | None,
    learned: Evidence | None,
    live: NDArray[np.bool_],
    variables: Sequence[str] | None = None,
) -> Located:
    """Lay the columns out by what is known of them: one source, or both.

    Args:
        found: the data's dependence; None: they were not asked.
        learned: what labels taught (`co_selection`); None: they were not asked.
        live: bool (d,), columns that are not constant.
        variables: of which variable each column is; see `discover`.

    With both, positions are read from the data, as only dependence tells which columns share one.
    If one of them shows no structure, the other is believed alone.

    Raises InvalidArgument if there is no source at all.
    """
    d = len(live)
    channels = Channels(1, np.arange(d), np.zeros(d, np.int64), 0.0)
    by_source: dict[Source, PositionEvidence] = {}
    if found is not None:
        channels = find_channels(found, live)
        by_source["data"] = data_evidence(found, channels)
    if learned is not None:
        by_source["labels"] = label_evidence(learned, channels)
    if not by_source:
        raise InvalidArgument("there is no source: give dependence, learned evidence, or both")
    if variables is not None and channels.count == 1:
        _part_variables(by_source, variables)
    graphs = {source: evidence.graph() for source, evidence in by_source.items()}
    seen = [source for source, graph in graphs.items() if len(graph)]
    if len(seen) == 2:
        return _by_both(by_source, graphs, channels)
    source: Source = seen[0] if seen else "both" if len(by_source) == 2 else next(iter(graphs))
    if len(by_source) == 2:
        graphs["both"] = graphs[seen[0]] if seen else NeighbourGraph.empty(channels.positions)
    believed = by_source[source if source in by_source else "data"]
    geometry = find_geometry(believed.scores, graphs[source], channels)
    graph = reread_edges(graphs[source], geometry, believed.believed)
    return Located(source, graphs, graph, geometry, channels)


def _part_variables(by_source: Mapping[Source, PositionEvidence], variables: Sequence[str]) -> None:
    """Take the scores from pairs of columns of one variable, in place."""
    _, variable_of = np.unique(np.array(variables), return_inverse=True)
    same = variable_of == variable_of[:, None]
    for evidence in by_source.values():
        evidence.scores[same] = 0.0


def _by_both(
    by_source: Mapping[Source, PositionEvidence],
    graphs: Mapping[Source, NeighbourGraph],
    channels: Channels,
) -> Located:
    """Of two sources that both show structure.

    Where the data's own neighbours lie well, labels are not needed, and the geometry is known to
    whoever has the inputs. Else both are joined: first the source leads whose edges are the further
    beyond chance, then the other, and the better fit is believed.
    """
    own = by_source["data"]
    alone = find_geometry(own.scores, graphs["data"], channels)
    if alone.fit >= _FITS:
        joined = combined_evidence(own, by_source["labels"]).graph()
        graph = reread_edges(graphs["data"], alone, own.believed)
        return Located("data", {**graphs, "both": joined}, graph, alone, channels)
    found: Located | None = None
    for leading in sorted(graphs, key=lambda source: -float(np.median(graphs[source].strength))):
        (other,) = (source for source in graphs if source != leading)
        both = combined_evidence(by_source[leading], by_source[other])
        every = {**graphs, "both": both.graph()}
        geometry = find_geometry(both.scores, every["both"], channels)
        if found is None or geometry.fit > found.geometry.fit:
            graph = reread_edges(every["both"], geometry, both.believed)
            found = Located("both", every, graph, geometry, channels)
        if geometry.fit >= _FITS:
            break
    assert found is not None
    return found
