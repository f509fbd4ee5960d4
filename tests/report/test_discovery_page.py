"""The page of `discover`: what was found in words and pictures, self-contained and escaped."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from page_elements import Elements

from scratchconv.analysis.prefix_code import Term
from scratchconv.discovery.alignment import SharedFilters
from scratchconv.discovery.comparison import Compared
from scratchconv.discovery.findings import Findings, Recovery
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.graph import NeighbourGraph
from scratchconv.discovery.network_code import NetworkCode
from scratchconv.discovery.networks import Structure
from scratchconv.discovery.recovery import true_grid_edges
from scratchconv.discovery.sharing import Sharing
from scratchconv.errors import InvalidArgument
from scratchconv.report.discovery_map import column_map
from scratchconv.report.discovery_page import render_discovery, write_discovery
from scratchconv.report.discovery_pictures import examples
from scratchconv.report.discovery_verdict import discovery_verdict

HOSTILE = "</title><script>alert(1)</script>\"'&$\\frac$"


def lying_on(kind: str, shape: tuple[int, ...], channels: int = 1) -> Geometry:
    """Columns in order: channel by channel, each row by row."""
    positions = int(np.prod(shape))
    columns = np.arange(channels * positions)
    coordinates = np.stack(np.unravel_index(np.arange(positions), shape), axis=1).astype(float)
    given = None if kind == "other" else shape
    return Geometry(
        kind,
        len(shape),
        coordinates,
        columns % positions,
        columns // positions,
        given,
        {kind: 0.97},
    )


def nowhere(columns: int) -> Geometry:
    each = np.arange(columns)
    return Geometry("none", 0, np.zeros((columns, 0)), each, np.zeros(columns, np.int64))


def certain(positions: int, edges: np.ndarray) -> NeighbourGraph:
    confidence = np.linspace(1, 0.99, len(edges))
    return NeighbourGraph(positions, edges, confidence, np.linspace(90, 5, len(edges)))


def code(kind: str, network: int, labels: int) -> NetworkCode:
    placed = kind in ("local", "shared")
    structure = None if kind == "none" else Structure(kind, 4, 3 if placed else 0)
    terms = (
        Term("first layer: values", "‖w‖₀ b", network, float(network)),
        Term("labels", "n · cross entropy", labels, float(labels)),
    )
    return NetworkCode(structure, 0 if kind == "none" else 4, terms)


def sharing(verdict: str = "shared", *, channels: int = 1) -> Sharing:
    lengths = {
        "none": (20, 9000),
        "dense": (4000, 3000),
        "sparse": (2000, 3500),
        "local": (2500, 2600),
    }
    lengths["shared"] = (900, 2500)
    codes = {kind: code(kind, *pair) for kind, pair in lengths.items()}
    codes[verdict] = code(verdict, 300, 2000)
    kernels = np.random.RandomState(0).randn(3, channels * 9)
    units = np.arange(5)
    filters = SharedFilters(
        kernels, units, units % 3, units, np.ones(5), 0.8, 120.0, np.zeros(20), 3
    )
    spread = dict.fromkeys(codes, 100)
    return Sharing(verdict, codes, filters, tuple(codes.values()), spread)


def findings(geometry: Geometry, edges: np.ndarray, **changes: object) -> Findings:
    columns = len(geometry.position_of)
    graph = certain(geometry.positions, edges)
    made = Findings(
        names=tuple(f"sensor {i}" for i in range(columns)),
        rows=2000,
        task="classification",
        constant=np.zeros(0, np.int64),
        graphs={"data": graph, "labels": NeighbourGraph.empty(geometry.positions)},
        graph=graph,
        geometry=geometry,
        receptive_fields=np.random.RandomState(1).randn(9, columns).astype(np.float32),
        sharing=sharing(channels=int(geometry.channel_of.max()) + 1) if len(edges) else None,
        networks=(
            Compared("dense", {"lr": 0.1}, 0.52, 0.51, 900_000, 12.0),
            Compared("compiled", {"lr": 0.1, "width": 32}, 0.69, 0.68, 50_000, 40.0),
            Compared("boosted trees", {"lr": 0.3}, 0.5, 0.49, None, 30.0),
        ),
        recovery=Recovery(0.999, 0.998, 0.9876, float("nan"), 1.0),
        seconds={"dependence": 12.0, "networks": 80.0},
    )
    return replace(made, **changes)


def found_nothing() -> Findings:
    """Of 40 columns without structure or target."""
    return findings(
        nowhere(40),
        np.zeros((0, 2), np.int64),
        receptive_fields=np.zeros((0, 40), np.float32),
        networks=(),
        recovery=None,
        task=None,
    )


def on_grid(channels: int = 3, **changes: object) -> Findings:
    return findings(lying_on("grid", (5, 6), channels), true_grid_edges(5, 6), **changes)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(
    ("kind", "shape", "edges"),
    [
        ("grid", (5, 6), true_grid_edges(5, 6)),
        ("line", (95,), true_grid_edges(95)),
        ("ring", (12,), true_grid_edges(12, closed=True)),
        ("other", (4, 3), true_grid_edges(4, 3)),
    ],
)
def test_every_kind_is_drawn_with_every_position_and_edge(kind, shape, edges, channels):
    found = findings(lying_on(kind, shape, channels), edges)
    rows = np.random.RandomState(0).rand(2, found.columns)
    page = render_discovery(found, title="A title", examples=rows)
    elements = Elements(page).elements
    circles = [a for tag, a in elements if tag == "circle"]
    maps = 1 if kind != "other" else 1 + 9
    assert len(circles) == maps * found.geometry.positions
    steps = next(a["d"] for tag, a in elements if a.get("class") == "steps")
    assert steps.count("M") == len(edges)
    assert (f"{channels} columns at each" in page) == (channels > 1)


def test_the_verdict_comes_first_and_says_the_shape_and_what_can_be_shared():
    text = Elements(render_discovery(on_grid(), title="A title")).text
    headline = "Your 90 columns lie on a grid of 5 × 6 positions, 3 columns at each."
    assert headline in text
    assert text.index("Weights can be shared along it.") < text.index("Where the columns lie")


def test_a_grid_with_empty_places_says_so():
    full = lying_on("grid", (5, 6))
    part = replace(full, coordinates=np.where(np.arange(30)[:, None] < 4, np.nan, full.coordinates))
    headline = discovery_verdict(findings(part, true_grid_edges(5, 6)[:1], sharing=None)).headline
    assert headline == ("26 of your 30 columns lie on a grid of 5 × 6 places, 26 of them taken.")


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("shared", "Weights can be shared"),
        ("local", "weights of its own"),
        ("sparse", "few of the columns"),
        ("dense", "all columns at once"),
        ("none", "pays for its own description"),
    ],
)
def test_each_verdict_of_sharing_has_its_words(verdict, words):
    found = on_grid(sharing=sharing(verdict, channels=3))
    assert words in discovery_verdict(found).headline
    rows = Elements(render_discovery(found, title="A title")).elements
    assert sum(tag == "tr" and a.get("class") == "best" for tag, a in rows) == 1


def test_no_structure_is_said_and_no_map_is_drawn():
    page = render_discovery(found_nothing(), title="A title")
    assert "No structure: of the 40 columns no two" in page
    assert "<circle" not in page
    assert "Held against the true geometry" not in page


def test_where_nothing_was_found_nothing_of_it_is_called_right():
    nothing = replace(found_nothing(), recovery=Recovery(1.0, 0.0, 0.0, float("nan"), 0.0))
    page = render_discovery(nothing, title="A title")
    assert "The true geometry is known here: none of its single steps were found." in page
    assert "of what was found is right" not in page


@pytest.mark.parametrize(
    ("position_of", "headline"),
    [
        ([0, 1, 2, 0, 1, 2], "Your 6 columns fall into 3 groups of 2, but no two of the groups"),
        ([0, 1, 2, 0, 1, 3], "4 of your 6 columns fall into 2 groups of 2, but no two of"),
        ([0, 0, 0, 1, 1, 2], "5 of your 6 columns fall into 2 groups of up to 3, but no two"),
    ],
)
def test_groups_without_neighbours_are_said(position_of, headline):
    at = np.array(position_of)
    channel_of = np.array([(at[:i] == at[i]).sum() for i in range(len(at))])
    geometry = Geometry("none", 0, np.zeros((at.max() + 1, 0)), at, channel_of)
    found = replace(
        found_nothing(),
        geometry=geometry,
        names=tuple("abcdef"),
        graph=certain(4, np.zeros((0, 2), int)),
    )
    assert headline in " ".join(discovery_verdict(found).headline.split())
    assert "<circle" not in render_discovery(found, title="A title")


def test_what_the_columns_places_would_take_is_told_and_who_would_win_then():
    found = on_grid()
    text = " ".join(discovery_verdict(found).sentences)
    places = math.log2(math.factorial(90))
    told = re.search(r"Written out \(([\d\s]+)bits\), (.*?)\.", text)
    assert places < int(re.sub(r"\D", "", told[1])) < places + 50
    assert told[2] == "the verdict stays"
    near = sharing()
    near.codes["sparse"] = code("sparse", 300, 2400)
    text = " ".join(discovery_verdict(on_grid(sharing=near)).sentences)
    assert "sparse is shortest" in text
    paid = sharing()
    terms = (Term("map: geometry", "", 500, 500.0), *paid.codes["shared"].terms)
    paid.codes.update({k: replace(paid.codes[k], terms=terms) for k in ("shared", "local")})
    assert "Written out" not in " ".join(discovery_verdict(on_grid(sharing=paid)).sentences)


def test_scores_come_with_the_test_rows_and_an_error():
    text = " ".join(discovery_verdict(on_grid(test_rows=100)).sentences)
    assert "On 100 test rows, accuracy is 68.0" in text
    assert "standard error of the first 4.7 points" in text
    without = on_grid(networks=on_grid().networks[:1], sharing=sharing("none", channels=3))
    assert "accuracy is 51.0" in " ".join(discovery_verdict(without).sentences)


def test_a_small_margin_is_called_close():
    near = sharing("local")
    near.codes["shared"] = code("shared", 300, 2050)
    assert "close call" in " ".join(discovery_verdict(on_grid(sharing=near)).sentences)
    assert "close call" not in " ".join(discovery_verdict(on_grid()).sentences)


def test_nothing_is_loaded_from_outside_and_names_are_escaped(tmp_path):
    found = on_grid()
    names = (HOSTILE, *found.names[1:])
    found = replace(found, names=names, constant=np.array([0]))
    rows = np.random.RandomState(0).rand(2, found.columns)
    out = write_discovery(
        found, tmp_path / "page.html", title=HOSTILE, made={"command": HOSTILE}, examples=rows
    )
    page = out.read_text(encoding="utf-8")
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    read = Elements(page)
    assert not {tag for tag, _ in read.elements} & {"script", "link", "iframe", "object", "base"}
    for _, attributes in read.elements:
        assert (attributes.get("src") or "data:image/png;").startswith("data:image/png;")
        assert not [name for name in attributes if name.startswith("on")]
    assert read.text.count(HOSTILE) >= 4  # title, heading, command, the dot's name, constants
    assert not re.findall(r"url\((?!#)", page)


def test_edges_that_the_geometry_does_not_explain_are_set_apart():
    edges = np.concatenate([true_grid_edges(5, 6), [[0, 29]]])
    drawn = column_map(lying_on("grid", (5, 6)), certain(30, edges), [str(i) for i in range(30)])
    assert drawn is not None
    assert drawn.leaps.count("M") == 1
    assert drawn.steps.count("M") == len(edges) - 1


def test_neighbours_are_drawn_one_step_apart_on_a_line_of_several_rows():
    drawn = column_map(
        lying_on("line", (95,)), certain(95, true_grid_edges(95)), [str(i) for i in range(95)]
    )
    assert drawn is not None
    at = np.array([(dot.x, dot.y) for dot in drawn.dots])
    apart = np.linalg.norm(np.diff(at, axis=0), axis=1)
    np.testing.assert_allclose(apart, apart[0], atol=0.11)


def test_rows_are_rearranged_as_the_line_says():
    order = np.random.RandomState(0).permutation(30)
    coordinates = np.argsort(order)[:, None].astype(float)  # column order[k] lies at place k
    geometry = Geometry(
        "line", 1, coordinates, np.arange(30), np.zeros(30, np.int64), (30,), {"line": 1.0}
    )
    row = np.empty(30)
    row[order] = np.arange(30)
    (shown,) = examples(row[None], geometry)
    heights = [float(point.split(",")[1]) for point in str(shown.after.trace).split()]
    assert heights == sorted(heights, reverse=True)  # a straight line that rises
    before = [float(point.split(",")[1]) for point in str(shown.before.trace).split()]
    assert before != sorted(before, reverse=True)


def test_scores_of_a_regression_are_r_squared():
    page = render_discovery(on_grid(task="regression"), title="A title")
    assert "0.680" in page
    assert "68.0\u00a0%" not in page


def test_nothing_is_overwritten_unasked_and_rows_of_another_width_are_refused(tmp_path):
    out = tmp_path / "page.html"
    out.write_text("mine")
    with pytest.raises(InvalidArgument, match="exists"):
        write_discovery(on_grid(), out, title="A title")
    assert out.read_text() == "mine"
    with pytest.raises(InvalidArgument, match="rows of 90 columns"):
        write_discovery(on_grid(), out, title="A title", examples=np.zeros((2, 89)), overwrite=True)
