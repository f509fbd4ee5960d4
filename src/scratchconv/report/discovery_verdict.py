"""What `discover` found, in plain words, and how certain it is."""

from __future__ import annotations

import math

import numpy as np

from scratchconv.discovery.comparison import Compared
from scratchconv.discovery.findings import Findings
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.neighbourhoods import channel_count, geometry_bits
from scratchconv.discovery.network_code import NetworkCode
from scratchconv.discovery.sharing import Sharing
from scratchconv.report.verdict import KeyFigure, Verdict
from scratchconv.report.wording import accuracy, fixed, grouped, listed, percent, plural

STRUCTURES = {
    "none": "no network",
    "dense": "dense",
    "sparse": "sparse",
    "local": "local",
    "shared": "shared",
}
NETWORKS = {
    "dense": "the dense network",
    "compiled": "the network compiled from what was found",
    "true convolution": "the convolution on the true geometry",
    "boosted trees": "gradient-boosted trees",
}
SOURCES = {"data": "the data", "labels": "what is learned from the labels", "both": "both together"}


def discovery_verdict(findings: Findings) -> Verdict:
    """The headline, how certain it is, and the figures beside it."""
    geometry, sharing = findings.geometry, findings.sharing
    headline = _geometry_sentence(findings)
    if sharing is not None:
        headline = f"{headline} {_short_sharing(sharing, geometry, findings.rows)}"
    sentences = [*_certainty(findings)]
    if sharing is not None:
        sentences += [_sharing_sentence(sharing), *_map_sentence(findings, sharing)]
    sentences += [*_networks_sentence(findings), *_recovery_sentence(findings), *_odd(findings)]
    return Verdict(headline, tuple(sentences), tuple(_figures(findings)))


def geometry_in_words(geometry: Geometry) -> str:
    """`a grid of 32 × 32 positions`."""
    extents = " × ".join(grouped(extent) for extent in geometry.shape or ())
    if geometry.kind == "none":
        return "nothing"
    if geometry.kind == "other":
        dimensions = plural(geometry.dimension, "dimension")
        return f"a map of {dimensions}, {grouped(geometry.positions)} positions in all"
    if not extents:
        extents = grouped(geometry.positions)
    taken = int(geometry.placed().sum())
    if geometry.shape is not None and taken < math.prod(geometry.shape):
        return f"a {geometry.kind} of {extents} places, {grouped(taken)} of them taken"
    return f"a {geometry.kind} of {extents} positions"


def score(findings: Findings, value: float) -> str:
    """A score of a network as it is written."""
    return fixed(value, 3) if findings.task == "regression" else accuracy(value)


def bits(count: float) -> str:
    """`12 345 bits`."""
    return f"{grouped(count).replace('-', '−')} bits"


def network_of(findings: Findings, name: str) -> Compared | None:
    """The contender of this name, if it was compared."""
    return next((one for one in findings.networks if one.name == name), None)


def _geometry_sentence(findings: Findings) -> str:
    geometry, columns = findings.geometry, grouped(findings.columns)
    if geometry.kind == "none":
        beyond_chance = "belong together more than all do, as far as chance lets one tell"
        if channel_count(geometry) > 1:
            return f"{_groups(findings)}, but no two of the groups {beyond_chance}."
        return f"No structure: of the {columns} columns no two {beyond_chance}."
    each = columns_at_each(geometry)
    if geometry.kind == "other":
        return (
            f"Your {columns} columns have neighbours, but lie on no line, ring or grid: they are"
            f" laid out on {geometry_in_words(geometry)}{each}."
        )
    placed = int(geometry.placed()[geometry.position_of].sum())
    if placed < findings.columns:
        columns = f"{grouped(placed)} of your {columns} columns"
        return f"{columns} lie on {geometry_in_words(geometry)}{each}."
    return f"Your {columns} columns lie on {geometry_in_words(geometry)}{each}."


def _groups(findings: Findings) -> str:
    """`Your 12 columns fall into 6 groups of 2`, the columns of each position."""
    sizes = np.bincount(findings.geometry.position_of)
    sizes = sizes[sizes > 1]
    taken = int(sizes.sum())
    whose = "Your" if taken == findings.columns else f"{grouped(taken)} of your"
    most = "" if sizes.min() == sizes.max() else "up to "
    return (
        f"{whose} {grouped(findings.columns)} columns fall into {plural(len(sizes), 'group')} of"
        f" {most}{sizes.max()}"
    )


def columns_at_each(geometry: Geometry) -> str:
    """`, 3 columns at each`; nothing if it is one."""
    channels = channel_count(geometry)
    return f", {channels} columns at each" if channels > 1 else ""


def _short_sharing(sharing: Sharing, geometry: Geometry, rows: int) -> str:
    along = "along it" if geometry.kind in ("line", "ring", "grid") else "between neighbourhoods"
    return {
        "shared": f"Weights can be shared {along}.",
        "local": "Nearby columns act together, but each place wants weights of its own.",
        "sparse": "The target asks for few of the columns, wherever they lie.",
        "dense": "The target asks for all columns at once, wherever they lie.",
        "none": f"In {grouped(rows)} rows no network tells the target so well that it pays for its"
        " own description.",
    }[sharing.verdict]


def _certainty(findings: Findings) -> list[str]:
    geometry, graph = findings.geometry, findings.graph
    if not len(graph):
        tried = " and ".join(SOURCES.get(source, source) for source in findings.graphs)
        often = "10 000" if set(findings.graphs) == {"data"} else "100"
        return [
            f"Looked for in {tried or 'the data'}: an edge would be shown only if the best of all"
            f" pairs were one that chance gives once in {often} tables."
        ]
    false = 1 - float(graph.confidence.min())
    share = "less than one in a million" if false < 1e-6 else f"no more than {percent(false)}"
    sentences = [
        f"{grouped(len(graph))} pairs of positions are neighbours; {share} of them are expected to"
        " be chance."
    ]
    if geometry.shape is not None and geometry.fit > 0:
        sentences.append(
            f"The {geometry.kind} agrees with the certain neighbours to F ="
            f" {fixed(geometry.fit, 3)} (1: every edge a single step, every single step an edge)."
        )
    elsewhere = geometry.positions - int(geometry.placed().sum())
    if elsewhere:
        sentences.append(f"{plural(elsewhere, 'position')} could not be placed.")
    return sentences


def _sharing_sentence(sharing: Sharing) -> str:
    kind, best = STRUCTURES[sharing.verdict], sharing.codes[sharing.verdict]
    if len(sharing.codes) < 2:
        return f"No other structure than {kind} could be tried."
    doubt = "" if sharing.clear else ", no more than other random starts change: a close call"
    return (
        f"Told with the shortest code ({kind}), the target takes {bits(best.bits)}; the next best"
        f" ({STRUCTURES[sharing.runner_up]}) takes {bits(sharing.margin)} more{doubt}. Test rows"
        " were not looked at for this."
    )


def _map_sentence(findings: Findings, sharing: Sharing) -> list[str]:
    """What the columns' places would take if they were told as well, and who would win then."""
    maps = [untold_map_bits(code, findings.geometry) for code in sharing.codes.values()]
    if not any(maps):
        return []
    best = shortest_with_map(sharing, findings.geometry)
    least = min(count for count in maps if count)
    change = "the verdict stays" if best == sharing.verdict else f"{STRUCTURES[best]} is shortest"
    return [
        "Where the columns lie is not counted: it was read off the columns alone, which whoever is"
        f" told the target has. Written out ({bits(least)}), {change}."
    ]


def shortest_with_map(sharing: Sharing, geometry: Geometry) -> str:
    """The kind whose code is the shortest if the columns' places are told by every code."""
    return min(
        sharing.codes,
        key=lambda kind: sharing.codes[kind].bits + untold_map_bits(sharing.codes[kind], geometry),
    )


def untold_map_bits(code: NetworkCode, geometry: Geometry) -> int:
    """The bits of the columns' places where a code has a window and leaves them out, else 0."""
    structure = code.structure
    if structure is None or not structure.window or code.of("map: geometry"):
        return 0
    return geometry_bits(geometry, structure.window)


def _networks_sentence(findings: Findings) -> list[str]:
    if not findings.networks:
        return []
    ranked = sorted(findings.networks, key=lambda one: one.name != "compiled")
    scores = [
        f"{score(findings, one.test)} for {NETWORKS.get(one.name, one.name)}" for one in ranked
    ]
    what = "R²" if findings.task == "regression" else "accuracy"
    return [f"On {_test_rows(findings)}, {what} is {listed(scores)}{_error(findings, ranked[0])}."]


def _test_rows(findings: Findings) -> str:
    return f"{grouped(findings.test_rows)} test rows" if findings.test_rows else "test rows"


def _error(findings: Findings, first: Compared) -> str:
    """The standard error of a share of right answers."""
    if findings.task == "regression" or not findings.test_rows:
        return ""
    error = math.sqrt(first.test * (1 - first.test) / findings.test_rows)
    return f" (standard error of the first {fixed(100 * error, 1)} points)"


def _recovery_sentence(findings: Findings) -> list[str]:
    recovery = findings.recovery
    if recovery is None:
        return []
    known = "The true geometry is known here:"
    if not findings.graph.edges.size:
        return [f"{known} none of its single steps were found."]
    return [
        f"{known} {percent(recovery.recall)} of its single steps were found, and"
        f" {percent(recovery.precision)} of what was found is right."
    ]


def _odd(findings: Findings) -> list[str]:
    constant = len(findings.constant)
    if not constant:
        return []
    verb = "holds" if constant == 1 else "hold"
    return [f"{plural(constant, 'column')} {verb} one value only and can have no neighbours."]


def _figures(findings: Findings) -> list[KeyFigure]:
    geometry = findings.geometry
    figures = [KeyFigure(grouped(findings.columns), f"columns, {grouped(findings.rows)} rows")]
    if geometry.kind != "none":
        shape = "×".join(str(extent) for extent in geometry.shape or (geometry.positions,))
        figures.append(KeyFigure(shape, "map" if geometry.kind == "other" else geometry.kind))
    if len(findings.graph):
        figures.append(KeyFigure(grouped(len(findings.graph)), "neighbouring pairs"))
    if findings.sharing is not None:
        figures.append(
            KeyFigure(
                STRUCTURES[findings.sharing.verdict],
                f"shortest code, by {bits(findings.sharing.margin)}",
            )
        )
    compiled, dense = network_of(findings, "compiled"), network_of(findings, "dense")
    for one, name in ((compiled, "compiled network, test"), (dense, "dense network, test")):
        if one is not None:
            figures.append(KeyFigure(score(findings, one.test), name))
    return figures
