"""Bias, BatchNorm, ReLU and dropout behind a product: against the plain twins and against torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from scratchconv.kernels import batch_norm, batch_norm_backward
from scratchconv.kernels.batch_norm import BATCH, GIVEN, NONE, Units
from scratchconv.kernels.batch_norm_backward import UnitGradients
from scratchconv.kernels.dropout import NO_DROPOUT, Dropout, kept_plain
from scratchconv.kernels.sparse_products import SMALLEST_NORMAL, in_float32, in_scipy
from scratchconv.kernels.sparse_rows import SparseRows

ORDINARY = settings(deadline=None, max_examples=80)
EPS = 1e-5

dtypes = pytest.mark.parametrize("bfloat16", [False, True])
all_statistics = st.sampled_from([NONE, BATCH, GIVEN])
rates = st.sampled_from([0.0, 0.0, 0.1, 0.5])
seeds = st.integers(0, 2**32 - 1)
numbers_of_units = st.sampled_from([1, 2, 3, 17, 63, 64, 70])
samples_of_a_batch = st.sampled_from([1, 2, 31, 32, 33, 63, 64, 256, 257, 300, 512])


def stored(numbers: np.ndarray, bfloat16: bool) -> np.ndarray:
    """Numbers as activations, rounded as torch rounds."""
    if bfloat16:
        return torch.from_numpy(numbers).bfloat16().view(torch.uint16).numpy()
    return numbers.astype(np.float32)


def unwritten(shape: tuple[int, int], bfloat16: bool) -> np.ndarray:
    """Activations that are NaN until something is written."""
    return stored(np.full(shape, np.nan, np.float32), bfloat16)


def random_units(
    rng: np.random.Generator, units: int, statistics: int, relu: bool, rate: float = 0.0
) -> Units:
    bias, scale, shift, mean, variance = rng.normal(size=(5, units)).astype(np.float32)
    scale[rng.random(units) < 0.1] = 0
    if statistics == BATCH:
        mean[:], variance[:] = np.nan, np.nan
    dropout = Dropout(rate if relu else 0.0, stream=int(rng.integers(2**63)))
    return Units(bias, scale, shift, mean, variance**2, EPS, statistics, relu, dropout)


def random_weight(
    rng: np.random.Generator, units: int, features: int, density: float
) -> SparseRows:
    """Some rows are empty, and some of what is stored is zero."""
    filled = rng.random((units, features)) < density * (rng.random((units, 1)) < 0.9)
    weight = SparseRows.from_dense(filled.astype(np.float32))
    values = np.where(rng.random(weight.stored) < 0.2, 0, rng.normal(size=weight.stored))
    return weight.with_values(values.astype(np.float32))


def copied(units: Units) -> Units:
    """The same, not sharing the statistics that a forward pass writes."""
    return replace(units, mean=units.mean.copy(), variance=units.variance.copy())


def error_of(exact: np.ndarray, error: np.ndarray | float, bfloat16: bool) -> np.ndarray:
    """What an activation may differ by: an error of its float32 value, then one rounding."""
    return error + (2.0**-8 * np.abs(exact) if bfloat16 else 0)


def assert_close(found: np.ndarray, exact: np.ndarray, error: np.ndarray | float) -> None:
    far = np.abs(found - exact) - error
    assert (far <= 0).all(), f"off by {far.max()} more than {np.max(error)}"


def normalised_of(units: Units, kept: np.ndarray) -> np.ndarray:
    """x̂ that a forward pass has left: 0 where it wrote none since the unit is constant."""
    constant = (units.variance == 0) & (units.statistics == BATCH)
    wide = in_float32(kept).copy()
    assert np.isnan(wide[constant]).all()
    wide[constant] = 0
    return wide


class Forward:
    """Buffers of a forward pass, and the error that float32 arithmetic allows it.

    sizes: a bound on the terms of each unit's sums, (units, 1).
    """

    def __init__(self, units: Units, shape: tuple[int, int], bfloat16: bool) -> None:
        self.units, self.bfloat16 = units, bfloat16
        self.outputs = unwritten(shape, bfloat16)
        self.kept = unwritten((0, 0) if units.statistics == NONE else shape, bfloat16)

    def assert_is_twin(self, sums: np.ndarray, sizes: np.ndarray) -> None:
        """`sums`: what the kernel was given or has computed, of any precision."""
        units, twin = self.units, copied(self.units)
        kept = np.zeros(self.kept.shape, np.float32)
        expected = batch_norm.units_plain(sums.astype(np.float32), twin, kept)
        error = 4e-6 * (sizes + np.abs(units.bias[:, None]) + 1e-30)
        if units.statistics != NONE:
            assert_close(units.mean, twin.mean, error[:, 0])
            spread = np.sqrt(twin.variance)
            assert_close(units.variance, twin.variance, 4 * error[:, 0] * (error[:, 0] + spread))
            inverse = 1 / np.sqrt(twin.variance + EPS)[:, None]
            if units.statistics == GIVEN:
                error = (error + 4e-6 * np.abs(units.mean[:, None])) * inverse
            else:
                # An error of the sums, and one of their spread, by which all of x̂ is divided.
                error = error * inverse * (1 + np.abs(kept).max(1, keepdims=True))
            found = normalised_of(units, self.kept)
            assert_close(found, kept, error_of(kept, error, self.bfloat16))
            error = 4e-7 * np.abs(units.shift[:, None]) + error * np.abs(units.scale[:, None])
        error = error * units.dropout.gain
        found = in_float32(self.outputs)
        assert_close(found, expected, error_of(expected, error + 1e-37, self.bfloat16))
        assert not (units.relu and (found < 0).any())


@dtypes
@ORDINARY
@given(
    seeds,
    numbers_of_units,
    samples_of_a_batch,
    all_statistics,
    st.booleans(),
    rates,
    st.booleans(),
)
def test_dense_units_is_its_twin(bfloat16, seed, units, samples, statistics, relu, rate, in_place):
    rng = np.random.default_rng(seed)
    level, spread = rng.normal(size=(2, units, 1))
    level[rng.random((units, 1)) < 0.1] = spread[rng.random((units, 1)) < 0.1] = 0
    given_sums = stored(level + spread * rng.normal(size=(units, samples)), bfloat16)
    wide = in_float32(given_sums).copy()
    forward = Forward(random_units(rng, units, statistics, relu, rate), wide.shape, bfloat16)
    if in_place:
        forward.outputs = given_sums
    batch_norm.dense_units(given_sums, forward.units, forward.kept, forward.outputs)
    forward.assert_is_twin(wide, np.abs(wide).max(1, keepdims=True))


@dtypes
@ORDINARY
@given(
    seeds,
    numbers_of_units,
    st.sampled_from([1, 2, 7, 33, 90]),
    st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    samples_of_a_batch,
    all_statistics,
    st.booleans(),
    rates,
)
def test_sparse_units_is_its_twin(
    bfloat16, seed, units, features, density, samples, statistics, relu, rate
):
    rng = np.random.default_rng(seed)
    weight = random_weight(rng, units, features, density)
    inputs = stored(rng.normal(size=(features, samples)), bfloat16)
    forward = Forward(random_units(rng, units, statistics, relu, rate), (units, samples), bfloat16)
    twin = copied(forward.units)
    batch_norm.sparse_units(weight, inputs, forward.units, forward.kept, forward.outputs)
    dense, wide = weight.to_dense().astype(float), in_float32(inputs).astype(float)
    sizes = (np.abs(dense) @ np.abs(wide)).max(1, keepdims=True)
    forward.assert_is_twin(dense @ wide, sizes)
    # The twin of this kernel is that of the sums, behind scipy's product.
    kept = np.empty(forward.kept.shape, np.float32)
    found = batch_norm.sparse_units_plain(weight, inputs, twin, kept)
    again = batch_norm.units_plain(in_scipy(weight) @ in_float32(inputs), twin, kept)
    np.testing.assert_array_equal(found, again)


@dtypes
@ORDINARY
@given(
    seeds,
    numbers_of_units,
    st.sampled_from([1, 2, 3, 4, 7, 33, 90]),
    st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    samples_of_a_batch,
    st.sampled_from([0.0, 0.02]),
)
def test_the_product_alone_in_every_bit(bfloat16, seed, units, features, density, samples, special):
    rng = np.random.default_rng(seed)
    weight = random_weight(rng, units, features, density)
    weight = weight.with_values(np.rint(8 * weight.values))
    rows = rng.integers(-8, 9, (features, samples)).astype(np.float32)
    others = rng.choice(np.array([np.nan, np.inf, -np.inf], np.float32), rows.shape)
    inputs = stored(np.where(rng.random(rows.shape) < special, others, rows), bfloat16)
    zeros, ones = np.zeros(units, np.float32), np.ones(units, np.float32)
    bias = rng.integers(-8, 9, units).astype(np.float32)
    plainly = Units(bias, ones, zeros, zeros, ones, EPS, NONE, relu=False)
    outputs = unwritten((units, samples), bfloat16)
    batch_norm.sparse_units(weight, inputs, plainly, inputs[:0, :0], outputs)
    with np.errstate(invalid="ignore"):
        expected = batch_norm.sparse_units_plain(weight, inputs, plainly, inputs[:0, :0])
    np.testing.assert_array_equal(in_float32(outputs), in_float32(stored(expected, bfloat16)))


class Backward:
    """A backward pass over what a forward pass of random sums has left."""

    def __init__(
        self,
        seed: int,
        shape: tuple[int, int],
        statistics: int,
        relu: bool,
        bfloat16: bool,
        rate: float = 0.0,
    ) -> None:
        rng = np.random.default_rng(seed)
        units = shape[0]
        level, spread = rng.normal(size=(2, units, 1))
        self.sums = stored(level + (1 + np.abs(spread)) * rng.normal(size=shape), bfloat16)
        self.units = random_units(rng, units, statistics, relu, rate)
        self.outputs = unwritten(shape, bfloat16)
        self.normalised = unwritten((0, 0) if statistics == NONE else shape, bfloat16)
        batch_norm.dense_units(self.sums, self.units, self.normalised, self.outputs)
        gradient = rng.normal(size=shape)
        # Where ReLU bends, rounding decides on which side an output is.
        unbent = unwritten(shape, bfloat16)
        linear = replace(copied(self.units), relu=False, dropout=NO_DROPOUT)
        batch_norm.dense_units(self.sums, linear, self.normalised, unbent)
        gradient[np.abs(in_float32(unbent)) < 1e-3] = 0
        self.gradient = stored(gradient, bfloat16)
        self.sums_gradient = unwritten(shape, bfloat16)
        self.found = self.run(self.sums_gradient)

    def run(self, sums_gradient: NDArray[np.float32]) -> UnitGradients:
        return batch_norm_backward.units_backward(
            self.gradient, self.outputs, self.normalised, self.units, sums_gradient
        )


@dtypes
@ORDINARY
@given(seeds, numbers_of_units, samples_of_a_batch, all_statistics, st.booleans(), rates)
def test_units_backward_is_its_twin(bfloat16, seed, units, samples, statistics, relu, rate):
    run = Backward(seed, (units, samples), statistics, relu, bfloat16, rate)
    kept = in_float32(run.normalised)
    if statistics != NONE:
        kept = normalised_of(run.units, run.normalised)
    expected, gradients = batch_norm_backward.units_backward_plain(
        in_float32(run.gradient), in_float32(run.outputs), kept, run.units
    )
    largest = np.abs(in_float32(run.gradient)).max(1) * run.units.dropout.gain
    reach = np.abs(kept).max(1) if statistics != NONE else np.zeros(units)
    factor = np.ones(units)
    if statistics != NONE:
        factor = np.abs(run.units.scale) / np.sqrt(run.units.variance + EPS)
    error = 4e-6 * factor * largest * (1 + reach) ** 2 + 1e-37
    found = in_float32(run.sums_gradient)
    assert_close(found, expected, error_of(expected, error[:, None], bfloat16))
    assert_close(run.found.shift, gradients.shift, 4e-7 * samples * largest)
    assert_close(run.found.scale, gradients.scale, 4e-7 * samples * largest * (1 + reach))
    # Sums over dY as it was rounded, for these two.
    exact = found.astype(float)
    assert_close(run.found.bias, exact.sum(1), 1e-6 * np.abs(exact).sum(1))
    assert_close(run.found.square, (exact**2).sum(1), 4e-7 * (exact**2).sum(1) + 1e-37)
    terms = error_of(expected, error[:, None], bfloat16)
    assert_close(run.found.bias, gradients.bias, terms.sum(1) + 1e-6 * np.abs(exact).sum(1))
    largest_root = np.abs(exact).max(1)
    assert_close(
        run.found.square,
        gradients.square,
        (terms * (2 * largest_root[:, None] + terms)).sum(1) + 1e-6 * gradients.square,
    )


@dtypes
@ORDINARY
@given(seeds, numbers_of_units, samples_of_a_batch, all_statistics, st.booleans(), rates)
def test_forward_and_backward_are_those_of_torch(
    bfloat16, seed, units, samples, statistics, relu, rate
):
    if statistics == BATCH and samples == 1:
        samples = 3  # torch refuses to normalise a batch of one
    run = Backward(seed, (units, samples), statistics, relu, bfloat16, rate)
    dropout = run.units.dropout
    of_torch = torch.nn.BatchNorm1d(units, eps=EPS, dtype=torch.float64)
    with torch.no_grad():
        of_torch.weight.copy_(torch.from_numpy(run.units.scale))
        of_torch.bias.copy_(torch.from_numpy(run.units.shift))
        if statistics == GIVEN:
            of_torch.running_mean.copy_(torch.from_numpy(run.units.mean))
            of_torch.running_var.copy_(torch.from_numpy(run.units.variance))
    of_torch.train(statistics == BATCH)
    bias = torch.from_numpy(run.units.bias).double().requires_grad_()
    sums = torch.from_numpy(in_float32(run.sums).copy()).double().t().requires_grad_()
    y = sums + bias
    z = y if statistics == NONE else of_torch(y)
    z = torch.relu(z) if relu else z
    z = z * torch.from_numpy(dropout.gain * kept_plain(dropout, units, samples)).t()
    z.backward(torch.from_numpy(in_float32(run.gradient).copy()).double().t())

    precision = 2.0**-8 if bfloat16 else 2.0**-20
    size = y.detach().abs().amax(0).numpy()
    variance = y.detach().var(0, unbiased=False).numpy()
    if statistics == BATCH:
        # float32 as they are: only activations are rounded.
        assert_close(run.units.mean, y.detach().mean(0).numpy(), 2e-6 * size)
        assert_close(run.units.variance, variance, 4e-6 * size**2)
    factor, reach = np.ones(units), np.zeros(units)
    if statistics != NONE:
        inverse = 1 / np.sqrt(run.units.variance + EPS)
        factor = np.abs(run.units.scale) * inverse
        reach = np.abs(y.detach().numpy() - run.units.mean).max(0) * inverse
        # Sums far from their mean lose digits when it is subtracted.
        reach = reach + 2.0**-20 / precision * size * inverse
    expected = z.detach().t().numpy()
    error = 2.0**-19 * (1 + size) * (1 + factor) * (1 + reach) * dropout.gain
    assert_close(in_float32(run.outputs), expected, error_of(expected, error[:, None], bfloat16))

    largest = np.abs(in_float32(run.gradient)).max(1) * dropout.gain
    error = precision * largest * (1 + reach) ** 2
    slope = sums.grad.t().numpy()
    assert_close(in_float32(run.sums_gradient), slope, 2 * (factor * error)[:, None] + 1e-37)
    assert_close(run.found.bias, bias.grad.numpy(), 2 * samples * factor * error + 1e-37)
    if statistics != NONE:
        assert_close(run.found.shift, of_torch.bias.grad.numpy(), samples * error)
        assert_close(run.found.scale, of_torch.weight.grad.numpy(), samples * error)


def test_a_unit_by_hand():
    one = np.ones(1, np.float32)
    units = Units(5 * one, 2 * one, one, 0 * one, 0 * one, 0.25, BATCH, relu=True)
    sums = np.array([[-3, 0, 0, 3]], np.float32) / np.float32(np.sqrt(6))
    kept, outputs = np.empty((2, 1, 4), np.float32)
    batch_norm.dense_units(sums, units, kept, outputs)
    # The variance is ¾: divided by √(¾ + ¼).
    np.testing.assert_allclose([*units.mean, *units.variance], [5, 0.75], rtol=1e-6)
    np.testing.assert_allclose(kept, sums, atol=1e-6)
    np.testing.assert_allclose(outputs, [[0, 1, 1, 1 + np.sqrt(6)]], atol=1e-6)


@dtypes
def test_backward_in_place(bfloat16):
    run = Backward(1, (70, 65), BATCH, True, bfloat16)
    run.run(run.gradient)
    np.testing.assert_array_equal(run.gradient, run.sums_gradient)


@dtypes
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("statistics", [NONE, BATCH, GIVEN])
def test_what_is_not_finite_stays_in_its_unit(bfloat16, wrong, statistics):
    rng = np.random.default_rng(3)
    sums = rng.normal(size=(5, 33))
    sums[2, 32] = wrong
    units = random_units(rng, 5, statistics, relu=True)
    units.scale[2] = 1
    forward = Forward(units, sums.shape, bfloat16)
    batch_norm.dense_units(stored(sums, bfloat16), units, forward.kept, forward.outputs)
    with np.errstate(invalid="ignore"):
        expected = batch_norm.units_plain(
            in_float32(stored(sums, bfloat16)), copied(units), np.empty((0, 0), np.float32)
        )
    found = in_float32(forward.outputs)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    assert np.isfinite(np.delete(found, 2, 0)).all()
    assert np.isnan(found[2]).all() == (statistics == BATCH)


@dtypes
def test_a_gradient_that_is_not_finite_stays_in_its_unit(bfloat16):
    run = Backward(4, (6, 64), BATCH, False, bfloat16)
    run.gradient[3, 40] = stored(np.full((1, 1), np.inf), bfloat16)[0, 0]
    found = run.run(run.sums_gradient)
    bad = np.arange(6) == 3
    for name in ("bias", "scale", "shift", "square"):
        np.testing.assert_array_equal(~np.isfinite(getattr(found, name)), bad)
    finite = np.isfinite(in_float32(run.sums_gradient))
    assert not finite[bad].any()
    assert finite[~bad].all()


@dtypes
@pytest.mark.parametrize("relu", [False, True])
def test_subnormal_results_become_zero(bfloat16, relu):
    one = np.ones(1, np.float32)
    sums = np.full((1, 33), 1e-30, np.float32)
    sums[0, ::2] = -1e-30
    sums = stored(sums, bfloat16)
    units = Units(0 * one, 1e-9 * one, 0 * one, 0 * one, 1e-2 * one, 0.0, GIVEN, relu)
    kept, outputs = unwritten((1, 33), bfloat16), unwritten((1, 33), bfloat16)
    batch_norm.dense_units(sums, units, kept, outputs)
    assert (in_float32(outputs) == 0).all()
    np.testing.assert_allclose(in_float32(kept), 10 * in_float32(sums), rtol=2**-8)
    small = Units(0 * one, 1e9 * one, 0 * one, 0 * one, 1e20 * one, 0.0, GIVEN, relu)
    batch_norm.dense_units(sums, small, kept, outputs)
    assert (in_float32(kept) == 0).all()
    assert (in_float32(outputs)[0, 1::2] > SMALLEST_NORMAL).all()
    gradient, result = stored(np.full((1, 33), 1e-30), bfloat16), unwritten((1, 33), bfloat16)
    ones = stored(np.ones((1, 33)), bfloat16)
    found = batch_norm_backward.units_backward(gradient, ones, ones, units, result)
    assert (in_float32(result) == 0).all()
    assert found.bias[0] == found.square[0] == 0


@dtypes
@pytest.mark.parametrize("statistics", [NONE, BATCH])
def test_units_that_read_nothing(bfloat16, statistics):
    """A dead unit hands on a constant; behind BatchNorm its x̂ is not even written."""
    rng = np.random.default_rng(5)
    weight = SparseRows.from_dense(np.zeros((4, 3), np.float32))
    forward = Forward(random_units(rng, 4, statistics, True), (4, 300), bfloat16)
    units = forward.units
    inputs = stored(rng.normal(size=(3, 300)), bfloat16)
    batch_norm.sparse_units(weight, inputs, units, forward.kept, forward.outputs)
    constant = units.bias if statistics == NONE else units.shift
    expected = in_float32(stored(np.maximum(constant, 0), bfloat16))
    np.testing.assert_array_equal(in_float32(forward.outputs), np.tile(expected, (300, 1)).T)
    if statistics == BATCH:
        np.testing.assert_array_equal(units.mean, units.bias)
        assert (units.variance == 0).all()
        assert np.isnan(in_float32(forward.kept)).all()


@dtypes
@pytest.mark.parametrize(("relu", "rate"), [(False, 0.0), (True, 0.0), (True, 0.5)])
def test_backward_through_a_unit_that_reads_nothing_is_that_of_torch(bfloat16, relu, rate):
    """Of dZ its mean is taken away, and the rest is multiplied by γ/√ε; where ReLU shuts, nothing.

    x̂ holds NaN and must not be read.
    """
    rng = np.random.default_rng(7)
    scale, bias = np.array([2, -3, 0.5, 1], np.float32), np.array([1, 2, 3, 4], np.float32)
    shift = np.array([0.5, -0.5, 0.25, 0], np.float32)
    dropout = Dropout(rate, stream=9)
    units = Units(bias, scale, shift, *np.empty((2, 4), np.float32), EPS, BATCH, relu, dropout)
    weight = SparseRows.from_dense(np.zeros((4, 3), np.float32))
    kept, outputs, slopes = (unwritten((4, 300), bfloat16) for _ in range(3))
    inputs = stored(rng.normal(size=(3, 300)), bfloat16)
    batch_norm.sparse_units(weight, inputs, units, kept, outputs)
    gradient = stored(rng.normal(size=(4, 300)), bfloat16)
    found = batch_norm_backward.units_backward(gradient, outputs, kept, units, slopes)

    of_torch = torch.nn.BatchNorm1d(4, eps=EPS, dtype=torch.float64)
    with torch.no_grad():
        of_torch.weight.copy_(torch.from_numpy(scale))
        of_torch.bias.copy_(torch.from_numpy(shift))
    sums = torch.from_numpy(bias).double().repeat(300, 1).requires_grad_()
    z = torch.relu(of_torch(sums)) if relu else of_torch(sums)
    z = z * torch.from_numpy(dropout.gain * kept_plain(dropout, 4, 300)).t()
    assert_close(in_float32(outputs), z.detach().t().numpy(), 0)
    z.backward(torch.from_numpy(in_float32(gradient).copy()).double().t())
    expected = sums.grad.t().numpy()
    error = 2e-6 * np.abs(scale)[:, None] / np.sqrt(EPS) * 4 * dropout.gain
    assert_close(in_float32(slopes), expected, error_of(expected, error, bfloat16))
    assert np.abs(in_float32(slopes)[0]).max() > 300  # 1/√ε is large
    assert_close(found.shift, of_torch.bias.grad.numpy(), 1e-4)
    assert (found.scale == 0).all()
    squares = (in_float32(slopes).astype(float) ** 2).sum(1)
    np.testing.assert_allclose(found.square, squares, rtol=1e-5)
    if relu:
        assert (in_float32(slopes)[[1, 3]] == 0).all()
        assert (found.shift[[1, 3]] == 0).all()
        assert (found.square[[1, 3]] == 0).all()


@dtypes
def test_what_is_not_finite_stays_so_in_a_unit_that_reads_nothing(bfloat16):
    one = np.ones(3, np.float32)
    scale = np.array([1, np.inf, 1], np.float32)
    units = Units(0 * one, scale, one, 0 * one, 0 * one, EPS, BATCH, relu=False)
    weight = SparseRows.from_dense(np.zeros((3, 2), np.float32))
    kept, outputs, slopes = (unwritten((3, 64), bfloat16) for _ in range(3))
    batch_norm.sparse_units(weight, stored(np.ones((2, 64)), bfloat16), units, kept, outputs)
    np.testing.assert_array_equal(np.isnan(in_float32(outputs)).all(1), [False, True, False])
    gradient = np.ones((3, 64))
    gradient[2, 5] = np.inf
    found = batch_norm_backward.units_backward(
        stored(gradient, bfloat16), outputs, kept, units, slopes
    )
    np.testing.assert_array_equal(np.isfinite(found.square), [True, False, False])
    np.testing.assert_array_equal(np.isfinite(found.scale), [True, True, False])


@dtypes
@pytest.mark.parametrize("samples", [64, 301])
def test_any_number_of_threads(bfloat16, samples):
    rng = np.random.default_rng(6)
    weight = random_weight(rng, 400, 90, 0.3)
    inputs = stored(rng.normal(size=(90, samples)), bfloat16)
    gradient = stored(rng.normal(size=(400, samples)), bfloat16)
    units = random_units(rng, 400, BATCH, relu=True)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            sparse, dense = (
                Forward(copied(units), (400, samples), bfloat16) for _ in ("sparse", "dense")
            )
            batch_norm.sparse_units(weight, inputs, sparse.units, sparse.kept, sparse.outputs)
            batch_norm.dense_units(gradient, dense.units, dense.kept, dense.outputs)
            back = unwritten((400, samples), bfloat16)
            found = batch_norm_backward.units_backward(
                gradient, sparse.outputs, sparse.kept, sparse.units, back
            )
            written = normalised_of(sparse.units, sparse.kept)
            results.append(
                [
                    *(sparse.outputs, written, sparse.units.mean, sparse.units.variance),
                    *(dense.outputs, dense.kept, dense.units.mean, dense.units.variance),
                    *(back, found.bias, found.scale, found.shift, found.square),
                ]
            )
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.isfinite(in_float32(one)).all()


@dtypes
def test_a_layer_without_units(bfloat16):
    nothing = np.empty(0, np.float32)
    units = Units(nothing, nothing, nothing, nothing, nothing, EPS, BATCH, relu=True)
    empty = unwritten((0, 33), bfloat16)
    batch_norm.dense_units(empty, units, empty, empty.copy())
    weight = SparseRows.from_dense(np.zeros((0, 2), np.float32))
    inputs = stored(np.ones((2, 33)), bfloat16)
    batch_norm.sparse_units(weight, inputs, units, empty, empty.copy())
    found = batch_norm_backward.units_backward(empty, empty, empty, units, empty.copy())
    assert found.square.size == 0


@dtypes
def test_a_dead_unit_without_eps_is_nan(bfloat16):
    one, sums = np.ones(1, np.float32), stored(np.zeros((1, 33)), bfloat16)
    units = Units(0 * one, one, 0 * one, 0 * one, 0 * one, 0.0, BATCH, relu=False)
    batch_norm.dense_units(sums, units, unwritten((0, 0), bfloat16), sums)
    assert np.isnan(in_float32(sums)).all()
