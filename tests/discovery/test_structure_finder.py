"""`StructureFinder` is scikit-learn's in every check, and its columns come out in their order."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from scratchconv.discovery import structure_finder
from scratchconv.discovery.channels import Channels
from scratchconv.discovery.geometry import Geometry, no_geometry
from scratchconv.discovery.ordering import column_order
from scratchconv.discovery.structure_finder import StructureFinder
from scratchconv.errors import InvalidArgument


@parametrize_with_checks(
    [
        StructureFinder("data", sharing=False),
        StructureFinder(sharing=False, rounds=1, steps=10),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def line(rows=400, columns=20, seed=0):
    """Columns that depend on their neighbours, shuffled, and the order that undoes it."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=(rows, columns + 1))
    order = random.permutation(columns)
    return (noise[:, 1:] + 0.8 * noise[:, :-1])[:, order], np.argsort(order)


def grid(rows=1500, height=6, width=8, seed=0):
    random = np.random.default_rng(seed)
    images = gaussian_filter(random.normal(size=(rows, height, width)), (0, 0.8, 0.8))
    order = random.permutation(height * width)
    return images.reshape(rows, -1)[:, order], order


def test_a_line_comes_out_in_its_order():
    X, order = line()
    found = StructureFinder(random_state=0).fit(X)
    assert (found.geometry_.kind, found.dimension_, found.channels_) == ("line", 1, 1)
    assert found.sharing_ is None
    assert found.source_ == "data"
    assert found.order_.tolist() in (order.tolist(), order[::-1].tolist())
    assert np.array_equal(found.coordinates_[found.order_, 0], np.arange(20))
    out = found.transform(X)
    assert np.array_equal(out, X[:, found.order_])
    assert np.array_equal(found.inverse_transform(out), X)
    with pytest.raises(InvalidArgument, match="give what transform returned"):
        found.inverse_transform(out[:, :3])


def test_a_grid_comes_out_row_by_row():
    X, order = grid()
    found = StructureFinder().fit(X)
    assert found.geometry_.kind == "grid"
    out = order[found.order_].reshape(found.geometry_.shape)
    if out.shape == (8, 6):
        out = out.T
    flips = [out[::a, ::b] for a in (1, -1) for b in (1, -1)]
    assert any(np.array_equal(each, np.arange(48).reshape(6, 8)) for each in flips)


def test_columns_of_a_position_stand_together_and_those_without_come_last():
    coordinates = np.array([[2.0], [np.nan], [0.0], [1.0]])
    position_of = np.array([0, 1, 2, 3, 3, 2, 0])
    channel_of = np.array([0, 0, 1, 1, 0, 0, 1])
    geometry = Geometry("line", 1, coordinates, position_of, channel_of, (3,))
    assert column_order(geometry).tolist() == [5, 2, 4, 3, 0, 6, 1]
    channels = Channels(1, np.arange(4), np.zeros(4, int), 0.0)
    assert column_order(no_geometry(channels)).tolist() == [0, 1, 2, 3]
    pairs = Channels(2, np.array([0, 1, 0, 1]), np.array([1, 0, 0, 1]), 1.0)
    assert column_order(no_geometry(pairs)).tolist() == [2, 0, 1, 3]


def test_columns_of_one_variable_are_no_neighbours():
    rng = np.random.default_rng(4)
    X = np.concatenate([rng.normal(size=(1000, 10)), np.eye(5)[rng.integers(0, 5, 1000)]], axis=1)
    variables = [*map(str, range(10)), *["colour"] * 5]
    assert len(StructureFinder().fit(X).graph_)
    assert not len(StructureFinder(variables=variables).fit(X).graph_)
    with pytest.raises(InvalidArgument, match="15 variables for 14 columns"):
        StructureFinder(variables=variables).fit(X[:, :14])


def test_labels_are_asked_where_there_are_any():
    random = np.random.default_rng(0)
    y = random.integers(2, size=1500)
    noise = random.normal(size=(1500, 12))
    X = noise + np.where(y == 0, 0.7, -0.7)[:, None] * np.roll(noise, 1, axis=1)
    options = {"sharing": False, "steps": 100, "random_state": 0}
    found = StructureFinder(**options).fit(X, np.array(["a", "b"])[y])
    assert set(found.graphs_) == {"data", "labels", "both"}
    ring = {tuple(sorted((i, (i + 1) % 12))) for i in range(12)}
    assert len(ring & set(map(tuple, found.graph_.edges))) >= 10
    again = StructureFinder(**options).fit(X, np.array(["a", "b"])[y])
    assert np.array_equal(found.graph_.edges, again.graph_.edges)
    assert found.graph_.strength.tolist() == again.graph_.strength.tolist()
    alone = StructureFinder("data", **options).fit(X, y)
    assert set(alone.graphs_) == {"data"}
    few = StructureFinder(**options).fit(X[:30], y[:30])
    assert set(few.graphs_) == {"data"}


def test_sharing_is_decided_by_labels(monkeypatch):
    """What is asked of `find_sharing`; what it answers is tested beside it."""
    asked = {}

    def find_sharing(samples, geometry, **options):
        asked.update(samples=samples, geometry=geometry, **options)
        return "an answer"

    monkeypatch.setattr(structure_finder, "find_sharing", find_sharing)
    X, _ = line()
    y = np.where(X[:, 0] > 0, "up", "down")
    found = StructureFinder("data", random_state=0).fit(X, y)
    assert found.sharing_ == "an answer"
    assert asked["geometry"] is found.geometry_
    assert asked["geometry_known"] is True
    assert asked["samples"].task == "classification"
    assert asked["samples"].targets.tolist() == (y == "up").astype(int).tolist()
    np.testing.assert_allclose(asked["samples"].inputs.mean(dim=0), 0, atol=1e-6)
    asked.clear()
    assert StructureFinder("data", sharing=False).fit(X, y).sharing_ is None
    assert StructureFinder("data").fit(X).sharing_ is None
    assert not asked


def test_pandas_pipeline_pickle_and_clone():
    pandas = pytest.importorskip("pandas")
    X, order = line()
    names = [f"sensor {i}" for i in range(20)]
    frame = pandas.DataFrame(X, columns=names)
    found = StructureFinder("data").set_output(transform="pandas")
    out = found.fit_transform(frame)
    expected = [names[i] for i in order]
    assert list(out.columns) in (expected, expected[::-1])
    assert list(found.get_feature_names_out()) == list(out.columns)
    for name in names:
        assert np.array_equal(out[name], frame[name])
    back = pickle.loads(pickle.dumps(found))
    assert np.array_equal(back.order_, found.order_)
    pipeline = make_pipeline(StructureFinder("data", sharing=False), LogisticRegression())
    y = frame["sensor 3"] > 0
    assert pipeline.fit(frame, y).score(frame, y) > 0.95
    assert not hasattr(clone(pipeline[0]), "order_")


def test_constant_columns_are_named():
    pandas = pytest.importorskip("pandas")
    X, order = line()
    end = order[0]
    frame = pandas.DataFrame(X, columns=[f"s{i}" for i in range(20)])
    frame[f"s{end}"] = 2.0
    with pytest.warns(UserWarning, match=rf"1 of 20 columns are constant and .*: s{end}\. They"):
        found = StructureFinder().fit(frame)
    assert found.constant_.tolist() == [end]
    rest = order[1:].tolist()
    assert found.order_.tolist() in ([*rest, end], [*rest[::-1], end])


def test_few_rows_find_nothing_and_say_so():
    X, _ = line()
    with pytest.warns(UserWarning, match="19 rows say nothing of neighbours"):
        found = StructureFinder().fit(X[:19])
    assert found.geometry_.kind == "none"
    assert len(found.graph_) == 0
    assert np.array_equal(found.transform(X), X)


@pytest.mark.parametrize(
    ("options", "target", "message"),
    [
        ({"source": "label"}, None, "unknown source 'label'"),
        ({"source": "labels"}, None, "there are no labels"),
        ({"source": "both"}, None, "there are no labels"),
        ({}, np.zeros(60), "one class only"),
        ({}, np.full(60, np.nan), "NaN"),
        ({}, np.arange(59), r"give one target a row, \(60,\)"),
        ({"task": "ranking"}, np.arange(60), "unknown task 'ranking'"),
        ({"task": "regression"}, np.array(["a", "b"] * 30), "holds text"),
        ({"rounds": 0}, np.arange(60) % 2, "rounds is 0"),
        ({"steps": 0}, np.arange(60) % 2, "steps 0"),
    ],
)
def test_impossible_arguments(options, target, message):
    X = np.random.default_rng(0).normal(size=(60, 5))
    with pytest.raises(InvalidArgument, match=message):
        StructureFinder(**options).fit(X, target)


def test_labels_alone_need_rows():
    X = np.random.default_rng(0).normal(size=(30, 5))
    with pytest.raises(InvalidArgument, match="30 rows are too few to learn from"):
        StructureFinder("labels").fit(X, np.arange(30) % 2)


def test_too_many_columns_and_too_little_memory(monkeypatch):
    with pytest.raises(InvalidArgument, match="4097 columns cannot be compared"):
        StructureFinder().fit(np.random.default_rng(0).normal(size=(20, 4097)))
    monkeypatch.setattr(structure_finder, "available_bytes", lambda: 3000)
    with pytest.raises(InvalidArgument, match="60 rows of 5 columns need 6,200 bytes, but 3,000"):
        StructureFinder().fit(np.random.default_rng(0).normal(size=(60, 5)))
