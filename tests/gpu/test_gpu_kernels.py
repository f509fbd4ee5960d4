"""The Triton kernels against their plain twins: on a GPU where there is one, else interpreted."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scratchconv.errors import InvalidArgument
from scratchconv.kernels import gpu
from scratchconv.kernels.gpu.pattern import pattern_of
from scratchconv.optim import reference

pytest.importorskip("triton", reason="the GPU kernels need triton: the extra 'gpu'")

from scratchconv.kernels.gpu import batch_norm, csr_products, fused_update

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

DTYPES = (torch.float32, torch.bfloat16)
# The last two lie halfway between two numbers of bfloat16.
SPECIAL = (0.0, -0.0, 0.25, -0.25, float("inf"), float("nan"), 1e-3, 1 + 2**-8, 1 + 3 * 2**-8)
seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(DTYPES)
options = st.tuples(
    st.sampled_from([0.0, 0.1, 0.5]), st.sampled_from([0.0, 0.01, 0.5]), st.sampled_from([0.5, 50])
)


def equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def whole_numbers(rng: torch.Generator, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Their products and sums are exact, so that the order of the sums does not show."""
    return torch.randint(-4, 5, shape, generator=rng).to(dtype)


def sparse(rng: torch.Generator, rows: int, columns: int) -> Tensor:
    kept = torch.rand(rows, columns, generator=rng) < torch.rand(rows, 1, generator=rng)
    return torch.randn(rows, columns, generator=rng) * kept


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 40), st.integers(1, 40), st.integers(1, 50), seeds, dtypes, options)
def test_fused_update_is_its_twin(samples, units, inputs, seed, dtype, option):
    rng = torch.Generator().manual_seed(seed)
    # Many of these eighths meet the threshold, a quarter, exactly.
    theta = (8 * sparse(rng, units, inputs)).round() / 8
    theta.view(-1)[: len(SPECIAL)] = torch.tensor(SPECIAL)[: theta.numel()]
    dY = whole_numbers(rng, (samples, units), dtype)
    if seed % 2:
        dY = dY.t().contiguous().t()  # feature-major
    X = whole_numbers(rng, (samples, 2 * inputs), dtype)[:, ::2] if seed % 3 else None
    X = whole_numbers(rng, (inputs, samples), dtype).t() if X is None else X
    found, expected = [], []
    for update, kept in (
        (fused_update.fused_update, found),
        (fused_update.fused_update_plain, expected),
    ):
        weight = theta.clone().to(DEVICE)
        copy = torch.ones(units, inputs, dtype=torch.bfloat16, device=DEVICE)
        counts = torch.full((units,), 7, dtype=torch.int32, device=DEVICE)
        numbers = fused_update.update_options(*option, device=DEVICE)
        update(weight, dY.to(DEVICE), X.to(DEVICE), numbers, copy=copy, counts=counts)
        kept += [weight, copy, counts]
    for one, other in zip(found, expected, strict=True):
        equal(one, other)


def test_the_twin_is_the_reference():
    rng = torch.Generator().manual_seed(0)
    theta = sparse(rng, 20, 30)
    dY, X = torch.randn(9, 20, generator=rng), torch.randn(9, 30, generator=rng)
    expected = reference.beta_lasso(theta, dY.t() @ X, 0.1, 0.01, 50.0)
    numbers = fused_update.update_options(0.1, 0.01, 50.0, device="cpu")
    fused_update.fused_update_plain(theta, dY, X, numbers)
    assert 0 < int((theta == 0).sum()) < theta.numel()
    equal(theta, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_is_summed_in_float32(dtype):
    rng = torch.Generator().manual_seed(1)
    dY = torch.randn(300, 17, generator=rng).to(dtype)
    X = torch.randn(300, 33, generator=rng).to(dtype)
    theta = torch.zeros(17, 33, device=DEVICE)
    numbers = fused_update.update_options(1.0, 0.0, 0.0, device=DEVICE)
    fused_update.fused_update(theta, dY.to(DEVICE), X.to(DEVICE), numbers)
    torch.testing.assert_close(
        theta.cpu().double(), -dY.double().t() @ X.double(), rtol=1e-5, atol=1e-4
    )


def test_options_are_read_from_the_device_at_each_step():
    theta, dY, X = (torch.ones(shape, device=DEVICE) for shape in ((2, 3), (4, 2), (4, 3)))
    numbers = fused_update.update_options(0.5, 0.0, 0.0, device=DEVICE)
    fused_update.fused_update(theta, dY, X, numbers)
    equal(theta, torch.full_like(theta, -1.0))
    fused_update.write_options(numbers, torch.tensor([0.25], device=DEVICE), 0.5, 4.0)
    fused_update.fused_update(theta, dY, X, numbers)
    equal(theta, torch.zeros_like(theta))  # −1 − ¼(4 − ½) = −1.875, within βλ = 2


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"theta": torch.zeros(3, 2).t()}, "contiguous"),
        ({"theta": torch.zeros(2, 3, dtype=torch.float64)}, "float64"),
        ({"X": torch.zeros(5, 3)}, r"X is float32 \(5, 3\)"),
        ({"X": torch.zeros(4, 3, dtype=torch.bfloat16)}, "give float32"),
        ({"dY": torch.zeros(4)}, r"give \(N, out\)"),
        ({"options": torch.zeros(2)}, "options"),
        ({"options": torch.zeros(3, device="meta")}, "options on meta"),
        ({"copy": torch.zeros(2, 3)}, "bfloat16"),
        ({"counts": torch.zeros(2)}, "int32"),
    ],
)
def test_fused_update_refuses(changed, told):
    good = {
        "theta": torch.zeros(2, 3),
        "dY": torch.zeros(4, 2),
        "X": torch.zeros(4, 3),
        "options": torch.zeros(3),
    }
    arguments = {
        name: tensor if tensor.is_meta else tensor.to(DEVICE)
        for name, tensor in {**good, **changed}.items()
    }
    with pytest.raises(InvalidArgument, match=told):
        fused_update.fused_update(**arguments)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 8), st.integers(0, 30), st.integers(0, 40), seeds, dtypes)
def test_products_are_their_twins(units, features, samples, seed, dtype):
    rng = torch.Generator().manual_seed(seed)
    weight = sparse(rng, units, features)
    pattern, values = pattern_of(weight.to(DEVICE))
    x = whole_numbers(rng, (features, samples), dtype).to(DEVICE)
    dY = whole_numbers(rng, (units, samples), dtype).to(DEVICE)
    choices = {"bias": torch.randn(units, generator=rng).to(DEVICE), "relu": bool(seed % 2)}
    for found, expected in (
        (
            csr_products.product(pattern, values, x, **choices),
            csr_products.product_plain(pattern, values, x, **choices),
        ),
        (
            csr_products.product(pattern.transposed(), values, dY),
            (weight.t().to(DEVICE) @ dY.float()).to(dtype),
        ),
    ):
        # One rounding to bfloat16 of sums that differ in their last bits.
        tolerance = 1e-5 if dtype == torch.float32 else 8e-3
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=1e-4)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 8), st.integers(0, 30), st.integers(0, 40), seeds, dtypes, options)
def test_the_update_of_non_zeros_is_its_twin(units, features, samples, seed, dtype, option):
    rng = torch.Generator().manual_seed(seed)
    pattern, values = pattern_of(sparse(rng, units, features).to(DEVICE))
    values[:3] = 0.0  # stored zeros may return
    dY = whole_numbers(rng, (units, samples), dtype).to(DEVICE)
    X = whole_numbers(rng, (features, samples), dtype).to(DEVICE)
    numbers = fused_update.update_options(*option, device=DEVICE)
    expected, counts = values.clone(), torch.full((2, units), 9, dtype=torch.int32, device=DEVICE)
    csr_products.update_nonzeros(pattern, values, dY, X, numbers, counts=counts[0])
    csr_products.update_nonzeros_plain(pattern, expected, dY, X, numbers, counts=counts[1])
    equal(values, expected)
    equal(counts[0], counts[1])


def test_more_samples_than_a_program_takes():
    rng = torch.Generator().manual_seed(2)
    weight = sparse(rng, 3, 20).to(DEVICE)
    pattern, values = pattern_of(weight)
    x = whole_numbers(rng, (20, 1100), torch.float32).to(DEVICE)
    dY = whole_numbers(rng, (3, 1100), torch.float32).to(DEVICE)
    torch.testing.assert_close(csr_products.product(pattern, values, x), weight @ x)
    expected = values.clone()
    numbers = fused_update.update_options(0.1, 0.01, 1.0, device=DEVICE)
    csr_products.update_nonzeros(pattern, values, dY, x, numbers)
    csr_products.update_nonzeros_plain(pattern, expected, dY, x, numbers)
    equal(values, expected)


def test_a_sparse_step_moves_what_is_stored_as_a_dense_step_does():
    rng = torch.Generator().manual_seed(3)
    theta = sparse(rng, 9, 21).to(DEVICE)
    pattern, values = pattern_of(theta)
    kept = theta != 0
    dY = whole_numbers(rng, (33, 9), torch.bfloat16).to(DEVICE)
    X = whole_numbers(rng, (33, 21), torch.bfloat16).to(DEVICE)
    numbers = fused_update.update_options(0.01, 0.01, 10.0, device=DEVICE)
    fused_update.fused_update(theta, dY, X, numbers)
    csr_products.update_nonzeros(pattern, values, dY.t().contiguous(), X.t().contiguous(), numbers)
    equal(pattern.to_dense(values), torch.where(kept, theta, 0.0))


def test_what_is_not_stored_is_not_read():
    pattern, values = pattern_of(torch.tensor([[1.0, 0.0], [0.0, 0.0]], device=DEVICE))
    x = torch.tensor([[2.0], [float("nan")]], device=DEVICE)
    equal(csr_products.product(pattern, values, x), torch.tensor([[2.0], [0.0]], device=DEVICE))


def test_pattern_is_in_compressed_rows():
    weight = torch.tensor([[0.0, 2, 0], [0, 0, 0], [3, 0, 4]])
    pattern, values = pattern_of(weight)
    assert (pattern.rows, pattern.columns, values.tolist()) == (3, 3, [2, 3, 4])
    assert pattern.indices.tolist() == [1, 0, 2]
    assert pattern.offsets.tolist() == [0, 1, 1, 3]
    assert pattern.order.tolist() == [2, 0, 1]
    transposed = pattern.transposed()
    assert transposed.indices.tolist() == [2, 0, 2]
    equal(transposed.to_dense(values), weight.t())
    equal(transposed.transposed().to_dense(values), weight)
    with pytest.raises(InvalidArgument, match="rows, columns"):
        pattern_of(torch.zeros(3))


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (torch.zeros(4, 2), r"\(3, N\)"),
        (torch.zeros(3, 2, dtype=torch.float16), "float16"),
        (torch.zeros(2, 3).t(), "side by side"),
    ],
)
def test_products_refuse(x, told):
    pattern, values = pattern_of(torch.ones(2, 3, device=DEVICE))
    with pytest.raises(InvalidArgument, match=told):
        csr_products.product(pattern, values, x.to(DEVICE))
    with pytest.raises(InvalidArgument, match="values"):
        csr_products.product(pattern, values[1:], torch.zeros(3, 2, device=DEVICE))
    with pytest.raises(InvalidArgument, match="transposed"):
        csr_products.update_nonzeros(pattern.transposed(), values, x, x, torch.zeros(3))


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 6), st.integers(2, 70), seeds, dtypes)
def test_batch_norm_is_its_twin(features, samples, seed, dtype):
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng).to(DEVICE)

    x = (3 * normal(features, samples) + 2).to(dtype)
    weight, bias, gradient = normal(features), normal(features), normal(features, samples).to(dtype)
    running = normal(features), normal(features).abs()
    copies = tuple(tensor.clone() for tensor in running)
    names = ("running_mean", "running_variance")
    found = batch_norm.batch_norm_relu(x, weight, bias, **dict(zip(names, running, strict=True)))
    expected = batch_norm.batch_norm_relu_plain(
        x, weight, bias, **dict(zip(names, copies, strict=True))
    )
    found += batch_norm.batch_norm_relu_backward(gradient, found, weight)
    expected += batch_norm.batch_norm_relu_backward_plain(gradient, expected, weight)
    for one, other in zip((*found, *running), (*expected, *copies), strict=True):
        # A sum of as many terms as there are samples; one rounding where the output is bfloat16.
        rough = one.dtype == torch.bfloat16 or dtype == torch.bfloat16
        tolerances = {"rtol": 2e-2, "atol": 3e-2} if rough else {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(one, other, **tolerances)


def test_batch_norm_is_torch_with_autograd():
    rng = torch.Generator().manual_seed(4)
    module = torch.nn.BatchNorm1d(5)
    with torch.no_grad():
        module.weight.copy_(torch.randn(5, generator=rng))
        module.bias.copy_(torch.randn(5, generator=rng))
    x = torch.randn(64, 5, generator=rng, requires_grad=True)
    gradient = torch.randn(64, 5, generator=rng)
    output = module(x).relu()
    output.backward(gradient)
    weight, bias = module.weight.detach().to(DEVICE), module.bias.detach().to(DEVICE)
    forward = batch_norm.batch_norm_relu(x.detach().t().contiguous().to(DEVICE), weight, bias)
    found = batch_norm.batch_norm_relu_backward(
        gradient.t().contiguous().to(DEVICE), forward, weight
    )
    for one, other in (
        (forward.output.t(), output.detach()),
        (found.input.t(), x.grad),
        (found.weight, module.weight.grad),
        (found.bias, module.bias.grad),
    ):
        torch.testing.assert_close(one.cpu(), other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (torch.zeros(3, 1), "at least 2"),
        (torch.zeros(3, 4097), "at most 4096"),
        (torch.zeros(4, 3).t(), "side by side"),
        (torch.zeros(3, 4, dtype=torch.float16), "float16"),
        (torch.zeros(2, 4), "weight"),
    ],
)
def test_batch_norm_refuses(x, told):
    one = torch.ones(3, device=DEVICE)
    with pytest.raises(InvalidArgument, match=told):
        batch_norm.batch_norm_relu(x.to(DEVICE), one, one)
    good = torch.zeros(3, 4, device=DEVICE)
    with pytest.raises(InvalidArgument, match="none of the two"):
        batch_norm.batch_norm_relu(good, one, one, running_mean=one)


def test_availability_is_told_for_each_device(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert gpu.available("cpu")
    assert not gpu.available("cuda:0")
    monkeypatch.delenv("TRITON_INTERPRET")
    assert not gpu.available("cpu")
    assert gpu.available("cuda:0")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not gpu.available("cuda:0")
