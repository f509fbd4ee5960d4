"""Both estimators are scikit-learn's in every check, and keep what their docstrings promise."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.datasets import make_friedman1
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectFromModel
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from scratchconv.discovery import beta_lasso_estimator, fitting
from scratchconv.discovery.beta_lasso_classifier import BetaLassoClassifier
from scratchconv.discovery.beta_lasso_regressor import BetaLassoRegressor
from scratchconv.discovery.weighted_rows import distinct_rows
from scratchconv.errors import Collapse, InvalidArgument

SMALL = {"hidden": (24, 8), "epochs": 20, "random_state": 0}


def relevant_columns(samples=200, columns=12, seed=0):
    """Classes that the first two of many columns tell."""
    random = np.random.RandomState(seed)
    X = random.normal(size=(samples, columns))
    return X, (X[:, 0] + X[:, 1] > 0).astype(int)


# The defaults pass too, in four times the time.
@parametrize_with_checks(
    [
        BetaLassoClassifier(hidden=(24, 12), epochs=12),
        BetaLassoRegressor(hidden=(24, 12), epochs=12),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_finds_the_columns_that_matter_and_gains_by_it():
    X, y = make_friedman1(700, 25, noise=1.0, random_state=0)
    options = {"hidden": (48, 16), "epochs": 60, "random_state": 0}
    dense = BetaLassoRegressor(lam=0, **options).fit(X[:350], y[:350])
    sparse = BetaLassoRegressor(**options).fit(X[:350], y[:350])
    assert dense.support_.all()
    assert sparse.support_.mean() < 0.3
    assert sparse.score(X[350:], y[350:]) > dense.score(X[350:], y[350:]) + 0.05
    kept = sparse.units_per_column_
    assert np.array_equal(kept, sparse.support_.sum(axis=0))
    assert kept[:5].min() > np.median(kept[5:])  # friedman1 uses the first five


def test_lam_auto_takes_the_best_of_what_it_tried():
    X, y = relevant_columns(300)
    found = BetaLassoClassifier(**SMALL).fit(X, y)
    assert len(found.search_) == len(fitting.MULTIPLES)
    best = min(found.search_, key=lambda tried: tried.loss)
    zero = best.penalty.first == 0
    assert (found.lam_first_ == 0) == zero
    # A longer run, on all rows, wants a smaller λ.
    assert found.lam_first_ <= best.penalty.first
    assert found.search_[0].density == 1 > found.search_[-1].density


def test_few_rows_take_the_natural_lam():
    X, y = relevant_columns(60)
    found = BetaLassoClassifier(**SMALL).fit(X, y)
    budget = fitting.Budget(20, 128, 0.1, found.beta_)
    assert found.search_ == []
    assert found.lam_first_ == pytest.approx(budget.natural_lam(12))
    # An idle weight at the end of its range is just gone.
    assert found.lam_first_ * (found.beta_ + fitting.sum_of_rates(20, 0.1)) == pytest.approx(
        1 / np.sqrt(12)
    )


def test_beta_is_the_papers_for_long_runs_only():
    assert fitting.Budget.of(100_000, 128, 0.1).beta == 50
    assert fitting.Budget.of(79, 128, 0.1).beta == pytest.approx(0.5)
    assert fitting.Budget.of(79, 128, 0.1, 3.0).beta == 3


def test_given_lams_are_taken_as_they_are():
    X, y = relevant_columns(250)
    found = BetaLassoClassifier(lam=0.01, lam_first=0.02, beta=2, **SMALL).fit(X, y)
    assert (found.lam_, found.lam_first_, found.beta_, found.search_) == (0.01, 0.02, 2, [])
    left = found.network_[0].weight.detach().abs()
    assert left[left > 0].min() >= 2 * 0.02
    assert BetaLassoClassifier(lam=0.01, **SMALL).fit(X, y).lam_first_ == 0.01


def test_the_last_of_equals_is_the_best():
    penalties = [fitting.Penalty(first, first) for first in (0.0, 1.0, 2.0)]
    tried = [fitting.Tried(p, loss, 1.0) for p, loss in zip(penalties, (3, 2, 2), strict=True)]
    assert fitting.best(tried).penalty.first == 2
    with pytest.raises(Collapse, match="every λ tried"):
        fitting.best([fitting.Tried(penalties[0], np.inf, np.nan)])


def test_same_seed_same_network_and_torch_is_left_alone():
    X, y = relevant_columns()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    first = BetaLassoClassifier(**SMALL).fit(X, y)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    with torch.no_grad():  # whoever calls it
        second = BetaLassoClassifier(**SMALL).fit(X, y)
    assert np.array_equal(first.predict_proba(X), second.predict_proba(X))
    other = BetaLassoClassifier(**{**SMALL, "random_state": 1}).fit(X, y)
    assert not np.array_equal(first.predict_proba(X), other.predict_proba(X))


def test_order_and_repetition_of_rows_do_not_matter():
    X, y = relevant_columns(150)
    weights = np.random.RandomState(0).randint(0, 4, size=150)
    options = {**SMALL, "batch_size": 16}
    weighted = BetaLassoClassifier(**options).fit(X, y, sample_weight=weights)
    rows = np.random.RandomState(1).permutation(np.repeat(np.arange(150), weights))
    repeated = BetaLassoClassifier(**options).fit(X[rows], y[rows])
    assert np.array_equal(weighted.predict_proba(X), repeated.predict_proba(X))


@given(
    X=arrays(
        np.float64,
        st.tuples(st.integers(1, 12), st.integers(1, 3)),
        elements=st.just(0.0) | st.just(-0.0) | st.just(1.0),
    ),
    data=st.data(),
)
@settings(deadline=None, max_examples=60)
def test_distinct_rows_equal_the_plain_count(X, data):
    y = data.draw(arrays(np.int64, len(X), elements=st.integers(0, 1)))
    weights = data.draw(arrays(np.float64, len(X), elements=st.integers(0, 3).map(float)))
    rows, summed = distinct_rows(X, y, weights)
    plain = {}
    for row, label, weight in zip(X.tolist(), y.tolist(), weights.tolist(), strict=True):
        if weight:
            plain[(*row, label)] = plain.get((*row, label), 0) + weight
    assert {(*X[r].tolist(), int(y[r])): w for r, w in zip(rows, summed, strict=True)} == plain
    assert len(rows) == len(plain)
    back, _ = distinct_rows(X[::-1], y[::-1], weights[::-1])
    assert [(*X[::-1][r], y[::-1][r]) for r in back] == [(*X[r], y[r]) for r in rows]


def test_partial_fit_learns_a_stream():
    X, y = relevant_columns(1200)
    stream = BetaLassoClassifier(hidden=(24, 8), batch_size=32, random_state=0)
    for start in 2 * list(range(0, 1000, 50)):
        stream.partial_fit(X[start : start + 50], y[start : start + 50], classes=[0, 1])
    assert stream.n_iter_ == 40 * 2
    assert stream.score(X[1000:], y[1000:]) > 0.85
    assert np.allclose(stream.mean_, X[:1000].mean(axis=0))
    assert np.allclose(stream.scale_, X[:1000].std(axis=0))


def test_partial_fit_goes_on_where_fit_ended():
    X, y = make_friedman1(400, 6, noise=0.5, random_state=0)
    found = BetaLassoRegressor(hidden=(32, 8), epochs=20, random_state=0).fit(X[:200], y[:200])
    lam, steps, before = found.lam_first_, found.n_iter_, found.score(X[200:], y[200:])
    for _ in range(3):
        found.partial_fit(X[:200], y[:200])
    assert found.lam_first_ == lam
    assert found.n_iter_ == steps + 3 * 2
    assert found.score(X[200:], y[200:]) > before - 0.15
    assert found.fit(X[:200], y[:200]).n_iter_ == steps


def test_partial_fit_refuses_unknown_classes():
    X, y = relevant_columns(40)
    with pytest.raises(InvalidArgument, match="first call of partial_fit"):
        BetaLassoClassifier(**SMALL).partial_fit(X, y)
    begun = BetaLassoClassifier(**SMALL).partial_fit(X, y, classes=[0, 1])
    with pytest.raises(InvalidArgument, match=r"classes \[2\] beside"):
        begun.partial_fit(X, y + 1)
    with pytest.raises(InvalidArgument, match="this network knows"):
        begun.partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(InvalidArgument, match="n_samples=1"):
        begun.partial_fit(X[:1], y[:1])


def test_large_layers_are_sparsified_while_they_train_and_plain_afterwards(monkeypatch):
    X, y = relevant_columns(120, columns=40)
    options = {"hidden": (64, 16), "epochs": 100, "random_state": 0}
    plain = BetaLassoClassifier(**options).fit(X, y)
    engines = []

    def sparsify(model, optimizer, **kwargs):
        monkeypatch.setattr("scratchconv.sparse.engine.SMALLEST", 2000)
        engines.append(real(model, optimizer, **kwargs))
        return engines[-1]

    real = fitting.sparsify
    monkeypatch.setattr(fitting, "SMALLEST", 2000)
    monkeypatch.setattr(fitting, "_WORTH_SPARSIFYING", 2000)
    monkeypatch.setattr(fitting, "sparsify", sparsify)
    found = BetaLassoClassifier(**options).fit(X, y)
    assert engines
    assert {type(layer) for layer in found.network_} == {
        torch.nn.Linear,
        torch.nn.BatchNorm1d,
        torch.nn.ReLU,
    }
    assert np.abs(found.predict_proba(X) - plain.predict_proba(X)).max() < 0.05
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again.predict_proba(X), found.predict_proba(X))


def test_pipeline_grid_search_and_clone():
    X, y = relevant_columns(90)
    names = np.array(["no", "yes"])[y]
    pipeline = make_pipeline(StandardScaler(), BetaLassoClassifier(**SMALL))
    search = GridSearchCV(pipeline, {"betalassoclassifier__lam": [0, 100.0]}, cv=2)
    with pytest.warns(UserWarning, match="no weight of the first layer is left"):
        search.fit(X, names)
    assert search.best_params_ == {"betalassoclassifier__lam": 0}
    assert set(search.predict(X)) == {"no", "yes"}
    assert not hasattr(clone(search.best_estimator_[-1]), "network_")


def test_selects_columns_by_the_units_that_keep_them():
    X, y = relevant_columns(400)
    chosen = SelectFromModel(
        BetaLassoClassifier(**{**SMALL, "epochs": 60}),
        importance_getter="units_per_column_",
        max_features=2,
        threshold=-np.inf,
    ).fit(X, y)
    assert chosen.get_support(indices=True).tolist() == [0, 1]


def test_pandas_in_and_out():
    pandas = pytest.importorskip("pandas")
    X, y = relevant_columns(80, columns=4)
    frame = pandas.DataFrame(X, columns=["a", "b", "c", "d"])
    frame["d"] = 1.0
    labels = pandas.Series(np.where(y == 1, "up", "down"))
    pipeline = make_pipeline(StandardScaler(), BetaLassoClassifier(**SMALL))
    pipeline.set_output(transform="pandas")
    with pytest.warns(UserWarning, match=r"1 of 4 columns are constant and tell nothing: d\."):
        pipeline.fit(frame, labels, betalassoclassifier__sample_weight=pandas.Series(np.ones(80)))
    assert pipeline[-1].feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert pipeline[-1].units_per_column_[3] == 0
    assert set(pipeline.predict(frame)) <= {"up", "down"}
    with pytest.raises(ValueError, match="feature names"):
        pipeline[-1].predict(frame.rename(columns={"a": "z"}))
    selected = SelectFromModel(
        BetaLassoClassifier(**SMALL), importance_getter="units_per_column_", threshold=1
    ).set_output(transform="pandas")
    with pytest.warns(UserWarning, match="constant"):
        out = selected.fit_transform(frame, labels)
    assert set(out.columns) <= {"a", "b", "c"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": ()}, "hidden is"),
        ({"hidden": 64}, "hidden is 64"),
        ({"hidden": (8, 0)}, "hidden is"),
        ({"lam": -1}, "lam is -1: give 'auto' or a number"),
        ({"lam": "best"}, "lam is 'best'"),
        ({"lam_first": "auto"}, "lam_first is 'auto'"),
        ({"beta": np.inf}, "beta is inf"),
        ({"lr": 0}, "lr is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"max_steps": 2.5}, "max_steps is 2.5"),
        ({"batch_size": 1}, "batch_size is 1"),
        ({"validation_fraction": 1}, "validation_fraction is 1"),
    ],
)
def test_impossible_parameters(options, message):
    X, y = relevant_columns(20)
    with pytest.raises(InvalidArgument, match=message):
        BetaLassoClassifier(**options).fit(X, y)


def test_unfit_data():
    X, y = relevant_columns(20)
    classifier, regressor = BetaLassoClassifier(**SMALL), BetaLassoRegressor(**SMALL)
    with pytest.raises(InvalidArgument, match="one class only"):
        classifier.fit(X, np.zeros(20))
    with pytest.raises(InvalidArgument, match="n_samples=1"):
        regressor.fit(np.ones((20, 2)), np.ones(20))
    with pytest.raises(InvalidArgument, match="too large to be standardised: 1"):
        regressor.fit(np.column_stack([X[:, 0], X[:, 1] * 1e300]), y)
    with pytest.raises(InvalidArgument, match="y has numbers too large"):
        regressor.fit(X, y * 1e300)
    for weights, message in (
        (np.zeros(20), "zero for every row"),
        (-np.ones(20), "not negative"),
        (np.ones((20, 2)), "one weight a row"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            regressor.fit(X, y, sample_weight=weights)


def test_a_constant_target_is_predicted():
    X, _ = relevant_columns(30)
    found = BetaLassoRegressor(**SMALL, lam=0).fit(X, np.full(30, 7.0))
    assert found.predict(X) == pytest.approx(np.full(30, 7.0), abs=0.5)


def test_training_that_diverges_says_what_to_try():
    X, y = relevant_columns(60)
    with pytest.raises(Collapse, match=r"lr=1e\+30: try a third"):
        BetaLassoRegressor(**{**SMALL, "lr": 1e30}).fit(X, y)


def test_a_fit_that_fails_leaves_nothing_to_predict_with():
    X, y = relevant_columns(60)
    found = BetaLassoClassifier(**SMALL).fit(X, y)
    found.set_params(lr=1e30)
    with pytest.raises(Collapse):
        found.fit(X * 100, np.where(y == 1, "a", "b"))
    with pytest.raises(NotFittedError):
        found.predict(X)
    found.set_params(lr=0.1).partial_fit(X, y, classes=[0, 1])
    assert set(found.predict(X)) <= {0, 1}
    number = BetaLassoRegressor(**SMALL).fit(X, y)
    with pytest.raises(InvalidArgument, match="y has numbers too large"):
        number.fit(X, y * 1e300)
    with pytest.raises(NotFittedError):
        number.predict(X)


def test_more_columns_than_memory_are_refused_with_the_bytes(monkeypatch):
    X, y = relevant_columns(20)
    monkeypatch.setattr(beta_lasso_estimator, "available_bytes", lambda: 3000)
    with pytest.raises(InvalidArgument, match=r"12 columns and 24 units need 4,608 bytes, but 3,0"):
        BetaLassoClassifier(**SMALL).fit(X, y)
