"""Networks that see only labels tell which columns belong together, where any do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.discovery import learning
from scratchconv.discovery.co_selection import learned_graph
from scratchconv.discovery.learning import learned_supports, standard_targets
from scratchconv.errors import InvalidArgument


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rings_by_class(n, d, seed, classes=2):
    """White columns on a ring; only in one class do they rise and fall with their neighbours."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    noise = rng.normal(size=(n, d))
    sign = np.where(labels == 0, 1.0, -1.0)[:, None]
    return (noise + 0.5 * sign * np.roll(noise, 1, axis=1)) / 1.25**0.5, labels


def found(inputs, targets, seed=0, **options):
    supports = learned_supports(
        inputs, targets, seed=seed, **{"steps": 150, "rounds": 1, **options}
    )
    return learned_graph(supports.weights, parts=supports.parts, seed=seed)


def test_neighbours_that_only_labels_tell():
    inputs, labels = rings_by_class(3000, 40, seed=0)
    correlations = np.corrcoef(inputs.T)[np.triu_indices(40, 1)]
    assert np.abs(correlations).max() < 0.1
    order = np.random.default_rng(1).permutation(40)
    graph = found(inputs[:, order], labels)
    ring = {tuple(sorted((i, (i + 1) % 40))) for i in range(40)}
    edges = {tuple(sorted(order[list(edge)])) for edge in graph.edges}
    assert len(edges & ring) >= 36
    assert len(edges - ring) <= 0.1 * len(edges)


def test_neighbours_that_a_number_tells():
    inputs, _ = rings_by_class(3000, 30, seed=0)
    target = (inputs * np.roll(inputs, 1, axis=1)).sum(axis=1)
    graph = found(inputs, target, steps=300)
    ring = {tuple(sorted((i, (i + 1) % 30))) for i in range(30)}
    edges = set(map(tuple, graph.edges))
    assert len(edges & ring) >= 20
    assert len(edges - ring) <= 0.15 * len(edges)


def test_more_rounds_go_on_where_fewer_ended():
    inputs, labels = rings_by_class(400, 20, seed=0)
    one = learned_supports(inputs, labels, rounds=1, steps=60, seed=3)
    two = learned_supports(inputs, labels, rounds=2, steps=60, seed=3)
    assert one.parts == two.parts[:2] == [0, 1]
    for a, b in zip(one.weights, two.weights, strict=False):
        np.testing.assert_array_equal(a.toarray(), b.toarray())
    assert (two.weights[2] != two.weights[0]).nnz
    other = learned_supports(inputs, labels, rounds=1, steps=60, seed=4)
    assert (other.weights[0] != one.weights[0]).nnz


@pytest.mark.parametrize("seed", range(20))
def test_labels_that_say_nothing_tell_of_no_neighbours(seed):
    """The columns depend on their neighbours, but no label knows of it."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(300, 24))
    inputs += 0.7 * np.roll(inputs, 1, axis=1)
    labels = rng.integers(3, size=300)
    assert len(found(inputs, labels, seed, steps=100, lams=[0.4])) == 0


@pytest.mark.parametrize("seed", range(20))
def test_a_few_columns_that_matter_are_no_neighbours(seed):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(400, 24))
    total = inputs[:, :4].sum(axis=1)
    targets = total > 0 if seed % 2 else total + 0.3 * rng.normal(size=400)
    assert len(found(inputs, targets, seed, steps=100, lams=[0.4])) == 0


def test_correlated_columns_are_decorrelated_and_white_ones_left_alone():
    rng = np.random.default_rng(0)
    white = learning._standardised(rng.normal(size=(2000, 30)).astype(np.float32))
    np.testing.assert_array_equal(learning._decorrelated(white.copy()), white)
    mixed = learning._standardised(white + 0.6 * np.roll(white, 1, axis=1))
    again = learning._decorrelated(mixed.copy())
    off = ~np.eye(30, dtype=bool)
    assert np.abs(np.corrcoef(mixed.T)[off]).max() > 0.4
    assert np.abs(np.corrcoef(again.T)[off]).max() < 0.05
    for i in range(30):  # each stays nearest to what it was
        assert np.argmax(np.abs(again.T @ mixed[:, i])) == i


@pytest.mark.parametrize("scale", [1.6e-27, 1e-200, 1e-320, 1e19, 1e300])
def test_the_scale_of_a_column_is_nothing_to_the_labels(scale):
    inputs, labels = rings_by_class(300, 8, seed=0)
    inputs = np.round(inputs, 3)  # the smallest numbers have no more digits
    scaled = inputs * np.where(np.arange(8) == 3, scale, 1.0)
    options = {"rounds": 1, "steps": 20, "lams": [0.0]}
    plain, found = (learned_supports(x, labels, **options) for x in (inputs, scaled))
    for one, other in zip(plain.weights, found.weights, strict=True):
        np.testing.assert_allclose(one.toarray(), other.toarray(), atol=0.05)


def test_many_rows_of_large_numbers_are_standardised_exactly():
    column = 1000 + np.random.default_rng(0).normal(size=(200_000, 1))
    table = column.astype(np.float32)
    expected = (table - table.mean(dtype=np.float64)) / table.std(dtype=np.float64)
    np.testing.assert_allclose(learning._standardised(table), expected, atol=1e-6)


def test_constant_columns_keep_nothing():
    inputs, labels = rings_by_class(400, 20, seed=0)
    inputs[:, [3, 8]] = 7.25
    supports = learned_supports(inputs, labels, rounds=1, steps=100)
    for weights in supports.weights:
        dense = weights.toarray()
        assert (dense[:, [3, 8]] == 0).all()
        assert (dense[[3, 8]] == 0).all()
        assert dense.any()


def test_supports_are_scaled_and_their_record_tells_of_them():
    inputs, labels = rings_by_class(1000, 20, seed=0)
    steps = []
    supports = learned_supports(
        inputs,
        labels,
        rounds=1,
        steps=100,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(done, 200) for done in range(20, 201, 20)]
    for weights, record in zip(supports.weights, supports.record, strict=True):
        dense = weights.toarray()
        living = dense.any(axis=1)
        assert record["dead"] == (~living).sum()
        assert record["kept"] == pytest.approx((np.count_nonzero(dense, axis=1) - living).mean())
        assert record["lam"] == pytest.approx(learning.LAMS[0] / 500**0.5)
        assert record["explained"] > 0.01
        np.testing.assert_allclose(dense.diagonal(), learning.ANCHOR * living)
        np.fill_diagonal(dense, 0)
        np.testing.assert_allclose((dense**2).sum(axis=1), living, rtol=1e-5)


def test_the_loss_of_a_unit_is_that_of_its_own_prediction():
    network = learning._Products(
        torch.ones(5, dtype=torch.bool), 3, torch.Generator().manual_seed(0)
    )
    x, t = torch.randn(64, 5), torch.randn(64, 3)
    losses = network.losses(x, t)
    for j in range(5):
        product = x[:, j] * sum(network.weight[j, i] * x[:, i] for i in range(5) if i != j)
        h = (product - product.mean()) / (product.var(correction=0) + 1e-2).sqrt()
        expected = ((t - h[:, None] * network.head[j]) ** 2).sum(dim=1) - (t**2).sum(dim=1)
        torch.testing.assert_close(losses[j], expected.mean())
    losses.sum().backward()
    assert (network.weight.grad.diagonal() == 0).all()


@settings(deadline=None, max_examples=10)
@given(
    n=st.integers(40, 80),
    d=st.integers(2, 10),
    classes=st.integers(2, 5),
    seed=st.integers(0, 1000),
)
def test_any_table_gives_finite_supports(n, d, classes, seed):
    rng = np.random.default_rng(seed)
    inputs = rng.standard_cauchy(size=(n, d)) * 10.0 ** rng.integers(-6, 6, d)
    labels = np.append(np.arange(classes), rng.integers(classes, size=n - classes))
    supports = learned_supports(inputs, labels, rounds=1, steps=5, lams=[0.01], seed=seed)
    for weights in supports.weights:
        assert weights.shape == (d, d)
        assert np.isfinite(weights.data).all()


def test_targets_of_any_kind():
    assert standard_targets(["a", "b", "a", "c"], 4).shape == (4, 3)
    assert standard_targets([True, False, True], 3).shape == (3, 2)
    numbers = standard_targets([0.0, 2.5, 9.0, -1.0], 4)
    assert numbers.shape == (4, 1)
    assert numbers.mean() == pytest.approx(0, abs=1e-6)
    assert numbers.std() == pytest.approx(1)
    np.testing.assert_array_equal(numbers[:, 0].argsort(), [3, 0, 1, 2])
    assert standard_targets([1, 2, 3, 4], 4, classification=False).shape == (4, 1)
    assert standard_targets([0.0, 1.0, 1.0], 3, classification=True).shape == (3, 2)


ROWS = np.random.default_rng(0).normal(size=(50, 4))


@pytest.mark.parametrize(
    ("inputs", "targets", "options", "message"),
    [
        (ROWS[:30], np.arange(30) % 2, {}, "30 rows"),
        (np.where(ROWS > 2, np.nan, ROWS), np.arange(50) % 2, {}, "NaN"),
        (ROWS, np.arange(49) % 2, {}, "targets of shape"),
        (ROWS, np.zeros(50, int), {}, "1 classes"),
        (ROWS, np.zeros(50), {}, "all the same"),
        (ROWS, np.full(50, np.nan), {}, "targets hold NaN"),
        (ROWS, ["x", "y"] * 25, {"classification": False}, "no number"),
        (ROWS, np.arange(50) % 2, {"rounds": 0}, "rounds is 0"),
        (ROWS, np.arange(50) % 2, {"lams": []}, "lams"),
        (ROWS, np.arange(50) % 2, {"lams": [-1.0]}, "lams"),
        (ROWS, np.arange(50) % 2, {"seed": -1}, "seed -1"),
    ],
)
def test_unfit_values_are_refused(inputs, targets, options, message):
    with pytest.raises(InvalidArgument, match=message):
        learned_supports(inputs, targets, **{"rounds": 1, "steps": 2, **options})
