"""The tables of the discovery page: every cell as text, ready to be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scratchconv.discovery.findings import Findings
from scratchconv.discovery.network_code import NetworkCode
from scratchconv.discovery.sharing import Sharing
from scratchconv.report.discovery_map import position_name
from scratchconv.report.discovery_verdict import NETWORKS, SOURCES, STRUCTURES, bits, score
from scratchconv.report.wording import (
    MISSING,
    compact,
    duration,
    fixed,
    grouped,
    number,
    percent,
)

_MOST_EDGES = 20
_MOST_PLACES = 150


@dataclass(frozen=True)
class CodeRow:
    """One structure's shortest code; `network` and `labels` are shares of the longest of all.

    spread: bits by which codes from other random starts differ.
    """

    kind: str
    settings: str
    network_bits: str
    label_bits: str
    total: str
    more: str
    spread: str
    network: float
    labels: float
    terms: tuple[tuple[str, str, str], ...]


def edge_rows(findings: Findings) -> list[tuple[str, ...]]:
    """The strongest edges: the names at both ends, confidence, standard deviations above chance."""
    graph, geometry = findings.graph, findings.geometry
    order = sorted(range(len(graph)), key=lambda e: -float(graph.strength[e]))[:_MOST_EDGES]
    rows = []
    for edge in order:
        ends = [position_name(geometry, p, findings.names) for p in graph.edges[edge].tolist()]
        chance = 1 - float(graph.confidence[edge])
        rows.append((*ends, number(graph.strength[edge]), _chance(chance)))
    return rows


def _chance(share: float) -> str:
    return "< 1e−15" if share < 1e-15 else number(share, 2)


def source_rows(findings: Findings) -> list[tuple[str, ...]]:
    """Each source: its edges, how many of them are in the graph shown, and the graph's in it."""
    shown = {(i, j) for i, j in findings.graph.edges.tolist()}
    rows: list[tuple[str, ...]] = []
    for source, graph in findings.graphs.items():
        own = {(i, j) for i, j in graph.edges.tolist()}
        rows.append(
            (
                SOURCES.get(source, source),
                grouped(len(own)),
                percent(len(own & shown) / len(own)) if own else MISSING,
                percent(len(own & shown) / len(shown)) if shown else MISSING,
            )
        )
    return rows


def recovery_rows(findings: Findings) -> list[tuple[str, str, str]]:
    """Measures against the true geometry: name, value, what it means."""
    found = findings.recovery
    if found is None:
        return []
    return [
        ("Precision", percent(found.precision), "of the neighbours found that are right"),
        ("Recall", percent(found.recall), "of the true single steps that were found"),
        (
            "Rank correlation",
            _finite(found.rank_correlation),
            "of found and true distances, over all pairs (Spearman)",
        ),
        (
            "Procrustes error",
            _finite(found.procrustes_error),
            "share of the variance of the true coordinates that is left",
        ),
        ("Channels", percent(found.channels), "of the columns that share a position rightly"),
    ]


def _finite(value: float) -> str:
    return fixed(value, 4) if value == value else MISSING


def place_rows(findings: Findings) -> list[tuple[str, str, str]]:
    """Every position of a small table: columns, coordinates, neighbours; none where there are many.

    Neighbours are given by the numbers of their positions.
    """
    geometry = findings.geometry
    if geometry.positions > _MOST_PLACES or geometry.kind == "none":
        return []
    placed, rows = geometry.placed(), []
    decimals = 2 if geometry.shape is None else 0
    for position in range(geometry.positions):
        at = ", ".join(fixed(value, decimals) for value in geometry.coordinates[position].tolist())
        near = "; ".join(
            position_name(geometry, other, findings.names)
            for other in findings.graph.neighbours(position).tolist()
        )
        name = position_name(geometry, position, findings.names)
        rows.append((name, at if placed[position] else MISSING, near or MISSING))
    return rows


def code_rows(sharing: Sharing) -> list[CodeRow]:
    """The structures, shortest code first."""
    ordered = sorted(sharing.codes.items(), key=lambda item: item[1].bits)
    best = ordered[0][1].bits
    longest = max(code.bits for _, code in ordered) or 1
    return [
        CodeRow(
            STRUCTURES[kind],
            _structure_settings(code),
            grouped(code.network_bits),
            grouped(code.label_bits),
            grouped(code.bits),
            f"+ {grouped(code.bits - best)}" if code.bits > best else MISSING,
            f"± {grouped(sharing.spread[kind])}" if sharing.spread.get(kind) else MISSING,
            code.network_bits / longest,
            code.label_bits / longest,
            tuple((term.name, term.formula, grouped(term.bits)) for term in code.terms),
        )
        for kind, code in ordered
    ]


def _structure_settings(code: NetworkCode) -> str:
    structure = code.structure
    if structure is None:
        return "the target by its frequencies alone"
    parts = [f"{structure.width} units"]
    if structure.kind == "local":
        parts = [f"{structure.width} units a position"]
    if structure.kind == "shared":
        parts = [f"{structure.width} filters"]
    if structure.window:
        parts.append(f"window {structure.window}")
    if structure.pool:
        parts.append(f"pooled to {structure.pool}")
    return ", ".join([*parts, f"{code.b} bits a weight"])


def filter_sentence(sharing: Sharing) -> str:
    """What the layer that β-LASSO left says about sharing, beside the bits."""
    found = sharing.filters
    if found is None:
        return ""
    saved = "saves" if found.bits_saved > 0 else "costs"
    return (
        f"Of {len(found.units)} units that β-LASSO left, {percent(found.explained)} of the energy"
        f" lies in shifted copies of {len(found.filters)} filters. Telling them so {saved}"
        f" {bits(abs(found.bits_saved))}; p = {number(found.p_value, 2)} against units whose signs"
        " are drawn anew."
    )


def network_rows(findings: Findings) -> list[tuple[str, ...]]:
    """Every contender: settings, validation, test, weights, seconds; the best test score first."""
    ordered = sorted(findings.networks, key=lambda one: -one.test)
    return [
        (
            NETWORKS.get(one.name, one.name).removeprefix("the "),
            _settings(one.settings),
            score(findings, one.validation),
            score(findings, one.test),
            compact(one.weights),
            duration(one.seconds),
        )
        for one in ordered
    ]


def _settings(settings: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in settings.items()) or MISSING


def second_rows(seconds: Mapping[str, float]) -> list[tuple[str, str, float]]:
    """Every stage: name, time, share of the longest in [0, 1]."""
    longest = max(seconds.values(), default=0.0) or 1.0
    return [(name, duration(value), value / longest) for name, value in seconds.items()]


def facts(made: Mapping[str, object]) -> list[tuple[str, str]]:
    """What is known of how it was made, nested tables laid flat; what is not known is left out."""
    found: list[tuple[str, str]] = []
    for name, value in made.items():
        if name == "command" or value is None:
            continue
        if isinstance(value, Mapping):
            found += facts(value)
        else:
            found.append((name, _fact(value)))
    return found


def _fact(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(str(part) for part in value) or "none"
    return str(value)
