"""The whole way: what each stage is given, and what becomes of it."""

from __future__ import annotations

import numpy as np
import pytest

from scratchconv.discovery import discovering
from scratchconv.discovery import receptive_fields as receptive_fields_module
from scratchconv.discovery.comparison import Compared
from scratchconv.discovery.discovering import STAGES, discover
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.graph import Evidence, NeighbourGraph
from scratchconv.discovery.network_code import constant_code
from scratchconv.discovery.receptive_fields import receptive_fields
from scratchconv.discovery.recovered import recovery_of
from scratchconv.discovery.sharing import Sharing, standard_samples
from scratchconv.errors import InvalidArgument

COLUMNS = 16
ORDER = np.random.default_rng(9).permutation(COLUMNS)
TRUE = Geometry("line", 1, np.arange(16.0)[:, None], ORDER, np.zeros(COLUMNS, np.int64), (COLUMNS,))
COMPARED = Compared("dense", {"lr": 0.1}, 0.5, 0.5, 100, 1.0)


def line(rows=500, seed=0):
    """Columns that depend on their neighbours on a line, shuffled."""
    noise = np.random.default_rng(seed).normal(size=(rows, COLUMNS + 1))
    return (noise[:, 1:] + 0.8 * noise[:, :-1])[:, ORDER]


@pytest.fixture
def asked(monkeypatch):
    """What the later stages were asked; they answer at once. Each is tested beside itself."""
    calls = {}

    def find_sharing(samples, geometry, *, progress, **options):
        calls["sharing"] = {"samples": samples, "geometry": geometry, **options}
        progress(None)
        return Sharing("none", {"none": constant_code(samples)}, None, (), {"none": 0})

    def compare_networks(train, test, structure, geometry, *, progress, **options):
        calls["networks"] = {"train": train, "test": test, **options}
        progress(None)
        return [COMPARED]

    def learned_evidence(table, targets, *, seed, progress):
        calls["learned"] = {"table": table, "targets": targets}
        zero = np.zeros((COLUMNS, COLUMNS), np.float32)
        return Evidence(zero, np.ones(1000, np.float32), "learned connectivity")

    def fields(samples, *, seed, progress):
        return np.ones((2, COLUMNS), np.float32)

    monkeypatch.setattr(discovering, "receptive_fields", fields)
    monkeypatch.setattr(discovering, "find_sharing", find_sharing)
    monkeypatch.setattr(discovering, "compare_networks", compare_networks)
    monkeypatch.setattr(discovering, "learned_evidence", learned_evidence)
    return calls


def test_the_data_alone():
    names = [f"sensor {i}" for i in range(COLUMNS)]
    told = []
    found = discover(
        line(), names=names, true_geometry=TRUE, progress=lambda *stage: told.append(stage)
    )
    assert found.names == tuple(names)
    assert (found.rows, found.columns, found.task) == (500, COLUMNS, None)
    assert found.geometry.kind == "line"
    assert set(found.graphs) == {"data"}
    assert found.recovery.precision == found.recovery.recall == found.recovery.channels == 1
    assert found.recovery.rank_correlation == pytest.approx(1)
    assert found.recovery.procrustes_error == pytest.approx(0, abs=1e-12)
    assert found.receptive_fields.shape == (0, COLUMNS)
    assert (found.sharing, found.networks) == (None, ())
    assert list(found.seconds) == ["dependence", "geometry"]
    assert told == [(stage, done, 1) for stage in ("dependence", "geometry") for done in (0, 1)]


def test_a_fifth_of_the_rows_is_seen_by_the_last_comparison_only(asked):
    X = line()
    X[:, 3] = np.arange(500)  # tells each row
    y = np.where(np.arange(500) % 4 == 0, "rare", "often")
    found = discover(X, y, true_geometry=TRUE, seed=5)
    assert (found.rows, found.task) == (400, "classification")
    assert list(found.seconds) == list(STAGES)
    assert set(found.graphs) == {"data", "labels", "both"}
    assert found.networks == (COMPARED,)
    learned = set(asked["learned"]["table"][:, 3])
    test = asked["networks"]["test"].inputs[:, 3].numpy()
    rows = np.array(sorted(learned))
    back = np.rint(test * rows.std() + rows.mean()).astype(int)
    assert set(back) == set(range(500)) - set(rows.astype(int))
    assert asked["networks"]["train"].inputs[:, 3].mean() == pytest.approx(0, abs=1e-6)
    classes = asked["networks"]["test"].targets
    assert classes.tolist() == (y[back] == "rare").astype(int).tolist()
    assert classes.sum() == 25  # in proportion
    assert asked["networks"]["true_geometry"] is TRUE
    assert len(asked["sharing"]["samples"]) == 400
    assert np.array_equal(asked["sharing"]["learned"], found.receptive_fields)


def test_test_rows_that_are_given(asked):
    X = line(600)
    y = X[:, 0] + X[:, 1]
    found = discover(X[:500], y[:500], test=(X[500:], y[500:]), source="data")
    assert (found.rows, found.task) == (500, "regression")
    assert "learned" not in asked
    assert asked["sharing"]["geometry_known"] is True
    test = asked["networks"]["test"]
    np.testing.assert_allclose(
        test.targets, (y[500:] - y[:500].mean()) / y[:500].std(), rtol=1e-5, atol=1e-6
    )
    assert len(test) == 100


@pytest.mark.parametrize(
    ("target", "tested", "message"),
    [
        (np.arange(500) % 2, np.array(["0", "1"]), "y holds text, but what is learned is numbers"),
        (
            np.array(["a", "b"] * 250),
            np.array([0, 1]),
            "y holds numbers, but what is le",
        ),
        (np.arange(500) % 2, np.array([0, None]), "test: y has 1 missing"),
        (np.arange(500) % 2, np.array([2, 3]), r"test: y holds no class that is learned \(2 is"),
        (np.arange(500) / 2, np.array([1.0, np.nan]), "test: y holds NaN or infinity"),
        (np.arange(500) / 2, np.array([1.0, 1.0]), "test: y is 1.0 in every row"),
        (np.arange(500) / 2, np.array(["1", "2"]), "y holds text, but what is learned is numbers"),
    ],
)
def test_test_targets_of_another_kind_are_refused(target, tested, message, asked):
    with pytest.raises(InvalidArgument, match=message):
        discover(line(), target, test=(line(2), tested), source="data")
    assert not asked


def test_test_targets_may_be_of_one_class_or_another_type(asked):
    for target, tested in (([0, 1], [1.0, 1.0]), (["a", "b"], np.array(["c", "b"], object))):
        discover(line(), np.array(target * 250), test=(line(2), tested), source="data")
        assert asked["networks"]["test"].targets[1] == 1


def test_without_networks_all_rows_are_looked_at(asked):
    X = line()
    found = discover(X, X[:, 0] > 0, networks=False)
    assert found.rows == 500
    assert found.networks == ()
    assert "networks" not in found.seconds
    assert found.sharing is not None


def test_a_table_too_large_is_looked_at_in_part(monkeypatch, asked):
    monkeypatch.setattr(discovering, "MOST_ENTRIES", 300 * COLUMNS)
    monkeypatch.setattr(discovering, "SHARING_ROWS", 100)
    X = line()
    found = discover(X, (X[:, 0] > 0).astype(int), seed=1)
    assert found.rows == 300
    assert len(asked["networks"]["train"]) == 300
    assert len(asked["networks"]["test"]) == 100
    assert len(asked["sharing"]["samples"]) == 100


def test_receptive_fields_are_where_the_labels_look():
    X = np.random.default_rng(0).normal(size=(1500, 12))
    samples = standard_samples(X, (X[:, 2] + X[:, 3] > 0).astype(int))
    done = []
    fields = receptive_fields(samples, max_steps=120, progress=lambda *counts: done.append(counts))
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert fields.dtype == np.float32
    norms = np.linalg.norm(fields, axis=1)
    assert (np.diff(norms) <= 0).all()
    assert norms.min() > 0
    column = np.abs(fields).sum(axis=0)
    assert column[[2, 3]].min() > 1.5 * np.median(np.delete(column, [2, 3]))
    assert (fields == 0).mean() > 0.5
    again = receptive_fields(samples, max_steps=120)
    np.testing.assert_array_equal(again, fields)


def test_rows_held_out_teach_receptive_fields_nothing(monkeypatch):
    monkeypatch.setattr(receptive_fields_module, "MULTIPLES", (1.0,))
    X = np.random.default_rng(0).normal(size=(600, 8))
    targets = (X[:, 2] + X[:, 3] > 0).astype(int)
    fields = receptive_fields(standard_samples(X, targets), max_steps=40)
    order = np.random.RandomState(0).permutation(600)
    targets[order[:120]] = 1 - targets[order[:120]]
    again = receptive_fields(standard_samples(X, targets), max_steps=40)
    np.testing.assert_array_equal(again, fields)
    targets[order[120]] = 1 - targets[order[120]]
    other = receptive_fields(standard_samples(X, targets), max_steps=40)
    assert other.shape != fields.shape or not np.array_equal(other, fields)


def test_few_rows_are_told_how_many_are_needed(asked):
    X, y = line(45), np.arange(45) % 2
    message = r"of 45 rows a fifth .* 36 left .* 40 .*networks=False, or source='data'"
    with pytest.raises(InvalidArgument, match=message):
        discover(X, y, source="both")
    found = discover(X, y)  # too few are left to learn from: the data alone
    assert "learned" not in asked
    assert (found.rows, found.networks) == (36, (COMPARED,))
    with pytest.raises(InvalidArgument, match=r"of 24 rows a fifth .* 19 left .* 20 .*=False$"):
        discover(X[:24], y[:24])
    assert discover(X[:25], y[:25]).rows == 20
    assert discover(X[:24], y[:24], networks=False).rows == 24
    discover(X, y, networks=False)
    assert len(asked["learned"]["table"]) == 45
    asked.clear()
    discover(line(39), y[:39], networks=False)  # too few to learn from: the data alone
    assert "learned" not in asked
    with pytest.raises(InvalidArgument, match=r"39 rows .* source='data'"):
        discover(line(39), y[:39], source="both", networks=False)


def test_columns_of_one_variable_are_no_neighbours(asked):
    rng = np.random.default_rng(4)
    numbers, colour = rng.normal(size=(2000, 20)), rng.integers(0, 5, 2000)
    X = np.concatenate([numbers, np.eye(5)[colour]], axis=1)
    variables = [*map(str, range(20)), *["colour"] * 5]
    assert len(discover(X).graph)
    found = discover(X, variables=variables)
    assert found.geometry.kind == "none"
    assert not len(found.graph)
    with pytest.raises(InvalidArgument, match="2 variables for 25 columns"):
        discover(X, variables=["a", "b"])


def test_recovery_of_channels_and_what_is_not_found():
    places = np.arange(10) // 2
    coordinates = np.arange(5.0)[:, None]
    true = Geometry("line", 1, coordinates, places, np.arange(10) % 2, (5,))
    none = Geometry("none", 0, np.zeros((10, 0)), np.arange(10), np.zeros(10, np.int64))
    nothing = recovery_of(NeighbourGraph.empty(10), none, true)
    assert (nothing.precision, nothing.recall, nothing.channels) == (1, 0, 0)
    assert np.isnan([nothing.rank_correlation, nothing.procrustes_error]).all()
    # Columns as positions of their own: one edge within a position, two right, one wrong.
    edges = np.array([[0, 1], [0, 2], [2, 4], [0, 9]])
    graph = NeighbourGraph(10, edges, np.ones(4), np.ones(4))
    found = recovery_of(graph, none, true)
    assert (found.precision, found.recall) == (pytest.approx(2 / 3), 0.5)
    swapped = places.copy()
    swapped[[1, 2]] = 1, 0
    other = Geometry("line", 1, coordinates, swapped, np.array([0, 0, 1, 1, *[0, 1] * 3]), (5,))
    assert recovery_of(NeighbourGraph.empty(5), other, true).channels == 0.6
    with pytest.raises(InvalidArgument, match="'none' has no single steps"):
        recovery_of(graph, true, none)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["a"]}, "1 names for 16 columns"),
        ({"names": ["a"] * 16}, "two columns are called 'a'"),
        ({"source": "labels"}, "there are no labels"),
        ({"y": np.zeros(500)}, "one class only"),
        ({"y": np.arange(500) % 2, "test": (np.zeros((3, 2)), np.zeros(3))}, "test has inputs"),
        ({"y": np.arange(500) % 2, "test": (np.zeros((0, 16)), np.zeros(0))}, "test is empty"),
        ({"y": np.arange(500.0), "task": "classification"}, "500 classes: give 2 to 256"),
        ({"y": np.array([None, "a"] * 250, object)}, "250 missing values"),
        ({"true_geometry": Geometry("none", 0, np.zeros((2, 0)), *np.zeros((2, 2), int))}, "true_"),
    ],
)
def test_impossible_arguments(options, message):
    with pytest.raises(InvalidArgument, match=message):
        discover(line(), **options)


def test_unfit_tables():
    X = line()
    X[3, 5] = np.nan
    with pytest.raises(InvalidArgument, match="NaN"):
        discover(X)
    with pytest.raises(InvalidArgument, match="19 rows"):
        discover(line()[:19])
