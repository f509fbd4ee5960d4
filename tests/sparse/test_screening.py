"""Screening lets no unit go that may regrow a weight, and lets most others go."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from scratchconv.kernels import screening as kernels
from scratchconv.sparse import layer_step
from scratchconv.sparse.activations import numbers
from scratchconv.sparse.product import Gradient
from scratchconv.sparse.screening import Screen, Screened
from scratchconv.sparse.weight import CompressedWeight

ORDINARY = settings(deadline=None, max_examples=400)
DTYPES = [torch.float32, torch.bfloat16]


def gradient_of(inputs: Tensor, outputs: Tensor) -> Gradient:
    """As a backward pass leaves it: squares of the stored dY."""
    square = torch.from_numpy(kernels.row_squares(numbers(outputs)))
    return Gradient(inputs, outputs, square)


def largest_slopes(gradient: Gradient) -> np.ndarray:
    """max |g| of every unit, in float64 from the stored values."""
    outputs, inputs = gradient.outputs.double().numpy(), gradient.inputs.double().numpy()
    return np.abs(outputs @ inputs.T).max(1)


def low_rank(rows: int, samples: int, rank: int, noise: float, rng: np.random.Generator) -> Tensor:
    strengths = 2.0 ** -np.arange(rank)
    product = rng.normal(size=(rows, rank)) * strengths @ rng.normal(size=(rank, samples))
    return torch.from_numpy(product + noise * rng.normal(size=(rows, samples)))


def rows_of(kind: str, rows: int, samples: int, rng: np.random.Generator) -> Tensor:
    """Inputs or gradients, float64 (rows, samples)."""
    plain = torch.from_numpy(rng.normal(size=(rows, samples)))
    if kind == "low rank":
        return low_rank(rows, samples, 6, 0.05, rng)
    if kind == "pixels":  # all of one sign, so nearly along the constant direction
        return plain.abs() * 0.1 + 1
    if kind == "one huge row":
        plain[rng.integers(rows)] *= 1e4
    elif kind == "huge in one sample":
        plain[:, rng.integers(samples)] *= 1e3
    elif kind == "constant rows":
        plain = plain[:, :1].expand(rows, samples).clone()
    elif kind == "zeros":
        plain[rng.random(rows) < 0.7] = 0
    elif kind == "all zero":
        plain.zero_()
    elif kind == "one row again and again":
        plain = plain[:1].expand(rows, samples).clone()
    elif kind == "very small":
        plain *= 1e-6
    else:
        assert kind == "noise"
    return plain


KINDS = [
    "noise",
    "low rank",
    "pixels",
    "one huge row",
    "huge in one sample",
    "constant rows",
    "zeros",
    "all zero",
    "one row again and again",
    "very small",
]

batches = st.tuples(
    st.integers(0, 2**32 - 1),
    st.sampled_from(KINDS),
    st.sampled_from(KINDS),
    st.sampled_from([1, 2, 3, 8, 33, 64, 65, 150, 400]),  # samples
    st.sampled_from([1, 2, 5, 40, 130]),  # features
    st.sampled_from([1, 2, 17, 60]),  # units
)


@ORDINARY
@given(batches, st.sampled_from(DTYPES), st.floats(0, 1), st.integers(1, 3))
@example((0, "low rank", "low rank", 3, 40, 60), torch.float32, 0.5, 3)  # more directions than 3
@example((1, "pixels", "pixels", 1, 40, 17), torch.bfloat16, 1.0, 2)
@example((2, "one row again and again", "one row again and again", 65, 5, 17), DTYPES[1], 0.5, 1)
def test_no_unit_that_reaches_the_bar_is_let_go(batch, dtype, quantile, steps):
    seed, inputs_kind, outputs_kind, samples, features, units = batch
    rng = np.random.default_rng(seed)
    screen = Screen(features)
    for _ in range(steps):  # its directions come from the steps before
        inputs = rows_of(inputs_kind, features, samples, rng).to(dtype)
        outputs = rows_of(outputs_kind, units, samples, rng).to(dtype)
        gradient = gradient_of(inputs, outputs)
        largest = largest_slopes(gradient)
        # A bar that one of the units reaches exactly: the hardest one.
        bar = float(np.quantile(largest, quantile, method="nearest"))
        kept, screened = screen.units_to_check(gradient, bar)
        assert set(np.nonzero(largest >= bar)[0]) <= set(kept.tolist())
        assert screened.units == units
        assert units >= screened.norms >= screened.blocks >= screened.pairs == len(kept)


@ORDINARY
@given(st.integers(0, 2**32 - 1), st.sampled_from(DTYPES), st.sampled_from([4, 33, 200]))
def test_parallel_rows_reach_the_bound_and_are_kept(seed, dtype, samples):
    """dY_i along X_j: Cauchy-Schwarz is an equality, and nothing may be lost to rounding."""
    rng = np.random.default_rng(seed)
    inputs = rows_of("noise", 30, samples, rng).to(dtype)
    signs = torch.from_numpy(rng.choice([-1.0, 1.0], size=(30, 1)))
    gradient = gradient_of(inputs, (inputs * signs).to(dtype))
    largest = largest_slopes(gradient)
    for bar in (largest.min(), float(np.median(largest)), largest.max()):
        kept, _ = Screen(30).units_to_check(gradient, float(bar))
        assert set(np.nonzero(largest >= bar)[0]) <= set(kept.tolist())


def screened_on_low_rank(dtype: torch.dtype) -> Screened:
    """Screening at the last of a few steps, at a bar that one unit in fifty reaches."""
    rng = np.random.default_rng(0)
    features, units, samples = 400, 300, 256
    screen = Screen(features)
    for _ in range(4):
        directions = np.linalg.qr(rng.normal(size=(samples, 20)))[0].T
        strengths = 0.7 ** np.arange(20)
        inputs = (rng.normal(size=(features, 20)) * strengths) @ directions
        inputs += 1e-3 * rng.normal(size=inputs.shape)
        # Gradients lie in all directions of the batch, but for a few that follow the inputs.
        outputs = rng.normal(size=(units, samples))
        outputs /= np.linalg.norm(outputs, axis=1, keepdims=True)
        outputs[::50] = directions[0]
        gradient = gradient_of(
            torch.from_numpy(inputs).to(dtype), torch.from_numpy(outputs).to(dtype)
        )
        largest = largest_slopes(gradient)
        bar = 0.9 * largest[0]
        assert (largest >= bar).sum() == units / 50
        _, screened = screen.units_to_check(gradient, float(bar))
    return screened


@pytest.mark.parametrize("dtype", DTYPES)
def test_most_units_are_let_go_where_inputs_have_few_directions(dtype: torch.dtype) -> None:
    screened = screened_on_low_rank(dtype)
    assert screened.norms == screened.units  # lengths alone tell nothing
    assert screened.pairs < 0.15 * screened.units
    assert screened.pairs <= screened.blocks < screened.norms


def test_a_bar_beyond_all_lengths_costs_no_split() -> None:
    rng = np.random.default_rng(0)
    gradient = gradient_of(rows_of("noise", 9, 5, rng).float(), rows_of("noise", 7, 5, rng).float())
    screen = Screen(9)
    before = screen._directions.clone()
    kept, screened = screen.units_to_check(gradient, math.inf)
    assert len(kept) == 0
    assert screened == Screened(units=7, norms=0, blocks=0, pairs=0)
    assert torch.equal(screen._directions, before)


def test_a_split_that_frees_nothing_is_left_out_for_a_while_and_tried_again() -> None:
    rng = np.random.default_rng(0)
    screen = Screen(50)
    directions = []
    for _ in range(60):
        inputs = rows_of("noise", 50, 300, rng).float()
        outputs = rows_of("noise", 20, 300, rng).float()
        kept, _ = screen.units_to_check(gradient_of(inputs, outputs), 1.0)
        assert len(kept) == 20
        directions.append(screen._directions.clone())
    tried = sum(not torch.equal(one, next_) for one, next_ in pairwise(directions))
    assert 1 <= tried <= 6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_unit_whose_gradient_is_not_finite_is_never_let_go(
    dtype: torch.dtype, value: float
) -> None:
    rng = np.random.default_rng(1)
    inputs = low_rank(60, 100, 5, 0.01, rng).to(dtype)
    outputs = rows_of("noise", 30, 100, rng).to(dtype)
    outputs[7, 3] = value
    gradient = gradient_of(inputs, outputs)
    for bar in (1.0, 50.0, 1e30):
        kept, _ = Screen(60).units_to_check(gradient, bar)
        assert 7 in kept.tolist()
    assert len(kept) < 30  # and the others are judged as ever


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_input_that_is_not_finite_keeps_every_unit(dtype: torch.dtype, value: float) -> None:
    rng = np.random.default_rng(2)
    screen = Screen(60)
    inputs = low_rank(60, 100, 5, 0.01, rng).to(dtype)
    outputs = rows_of("noise", 30, 100, rng).to(dtype)
    good = gradient_of(inputs.clone(), outputs)
    bar = float(np.quantile(largest_slopes(good), 0.9))
    inputs[11, 5] = value
    kept, _ = screen.units_to_check(gradient_of(inputs, outputs), bar)
    assert len(kept) == 30
    kept, _ = screen.units_to_check(good, bar)
    assert set(np.nonzero(largest_slopes(good) >= bar)[0]) <= set(kept.tolist())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_int8_levels_and_full_products_find_the_same_weights(monkeypatch, dtype):
    if not hasattr(torch, "_int_mm"):
        pytest.skip("this torch has no int8 product")
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(50, 70, generator=generator).to(dtype)
    outputs = torch.randn(30, 70, generator=generator).to(dtype)
    gradient = Gradient(inputs, outputs, outputs.float().square().sum(1))
    weight = torch.randn(30, 50, generator=generator)
    weight[torch.rand(30, 50, generator=generator) < 0.8] = 0
    form = CompressedWeight.of(nn.Parameter(weight))
    bar = float((outputs.float() @ inputs.float().t()).abs().quantile(0.9))
    found = []
    for fast in (False, True):
        monkeypatch.setattr(layer_step, "_INT8_IS_FAST", fast)
        unit, feature, slope = layer_step._zeros_at_least(form, gradient, torch.arange(30), bar)
        reached = np.abs(slope) >= bar
        found.append(list(zip(unit[reached], feature[reached], slope[reached], strict=True)))
    assert found[0] == found[1]
    assert len(found[0]) > 50


def test_int8_levels_are_left_where_their_sums_would_not_fit(monkeypatch):
    if not hasattr(torch, "_int_mm"):
        pytest.skip("this torch has no int8 product")
    monkeypatch.setattr(layer_step, "_INT8_IS_FAST", True)
    samples = 200_000  # 127² · 200,000 > 2³¹
    gradient = gradient_of(torch.ones(8, samples), torch.full((4, samples), 1 / samples))
    form = CompressedWeight.of(nn.Parameter(torch.zeros(4, 8)))
    unit, feature, slope = layer_step._zeros_at_least(form, gradient, torch.arange(4), 0.5)
    assert len(set(zip(unit, feature, strict=True))) == 32
    np.testing.assert_allclose(slope, 1, rtol=1e-3)
