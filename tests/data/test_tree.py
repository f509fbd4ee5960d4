"""The tree task against the formula of Zhang 2021, §2.1, written out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.data import load
from scratchconv.data.tree import draw_theta, make_tree, tree_function
from scratchconv.errors import InvalidArgument


def plain_tree(x, theta, level=6):
    """f_level of 2^level inputs, by its recursion."""
    left, right = float(theta[level - 1][0]), float(theta[level - 1][1])
    if level == 1:
        return left * x[0] + right * x[1]
    half = len(x) // 2
    return left * math.tanh(plain_tree(x[:half], theta, level - 1)) + right * math.tanh(
        plain_tree(x[half:], theta, level - 1)
    )


def test_the_function_follows_the_recursion():
    theta = draw_theta(3)
    x = torch.randn(5, 64, dtype=torch.float64, generator=torch.manual_seed(0))
    expected = [plain_tree(row.tolist(), theta) for row in x]
    assert tree_function(x, theta).tolist() == pytest.approx(expected, rel=1e-12)


def test_shapes_and_exact_test_targets():
    dataset = load("tree", train_size=30, test_size=20, noise=0.3, seed=4)
    assert dataset.task == "regression"
    assert dataset.image == (1, 1, 64)
    assert dataset.classes == ()
    assert dataset.train.inputs.dtype == dataset.train.targets.dtype == torch.float32
    exact = tree_function(dataset.test.inputs.flatten(1).double(), draw_theta(4)).float()
    torch.testing.assert_close(dataset.test.targets, exact, atol=1e-5, rtol=1e-5)


def test_noise_is_drawn_for_every_sample_with_deviation_epsilon():
    train, _ = make_tree(4096, 1, noise=0.3, seed=1)
    clean, _ = make_tree(4096, 1, noise=0.0, seed=1)
    assert torch.equal(train.inputs, clean.inputs)
    noise = train.targets - clean.targets
    assert float(noise.std()) == pytest.approx(0.3, rel=0.05)
    assert abs(float(noise.mean())) < 0.02
    assert len(noise.unique()) > 4000


def test_a_larger_training_set_keeps_the_tree_and_the_test_set():
    _, small = make_tree(64, 100, seed=2)
    _, large = make_tree(4096, 100, noise=0.1, seed=2)
    assert torch.equal(small.inputs, large.inputs)
    assert torch.equal(small.targets, large.targets)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 70), min_size=2, max_size=2), st.booleans(), st.integers(0, 9))
def test_a_larger_training_set_begins_with_the_smaller(sizes, shared, seed):
    small, large = sorted(sizes)
    (few, _), (many, _) = (
        make_tree(size, 1, noise=0.3, seed=seed, shared_noise=shared) for size in (small, large)
    )
    assert torch.equal(few.inputs, many.inputs[:small])
    torch.testing.assert_close(few.targets, many.targets[:small])


def test_shared_noise_is_one_number_for_all_training_targets():
    shifts = []
    for seed in range(300):
        noisy, test = make_tree(10, 4, noise=0.3, seed=seed, shared_noise=True)
        clean, exact = make_tree(10, 4, seed=seed)
        shift = (noisy.targets - clean.targets).double()
        assert float(shift.max() - shift.min()) < 1e-5
        assert torch.equal(test.targets, exact.targets)
        shifts.append(float(shift.mean()))
    assert float(torch.tensor(shifts).std()) == pytest.approx(0.3, rel=0.15)


def test_theta_is_uniform_from_0_to_2_and_new_for_every_seed():
    drawn = torch.stack([draw_theta(seed) for seed in range(200)])
    assert drawn.shape == (200, 6, 2)
    assert 0 <= float(drawn.min()) < 0.05
    assert 1.95 < float(drawn.max()) < 2
    assert float(drawn.mean()) == pytest.approx(1, abs=0.05)
    assert len(drawn.unique()) == drawn.numel()


@pytest.mark.parametrize(
    "options",
    [{"train_size": 0}, {"test_size": 0}, {"noise": -0.1}, {"noise": math.nan}, {"seed": -1}],
)
def test_unusable_options_are_refused(options):
    with pytest.raises(InvalidArgument, match=next(iter(options))):
        load("tree", **options)
