"""Algorithm 1: every path against the line-by-line twin, and what the algorithm promises."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from scratchconv.errors import InvalidArgument
from scratchconv.optim import BetaLasso, param_groups, reference

PATHS: list[dict[str, Any]] = [
    {},
    {"fused": True},
    {"foreach": True},
    {"foreach": False},
]
paths = pytest.mark.parametrize("path", PATHS, ids=["auto", "fused", "foreach", "plain"])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])


def unsupported(path: dict[str, Any], dtype: torch.dtype) -> bool:
    return bool(path.get("fused")) and dtype == torch.float64


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 7)
    )


@paths
@dtypes
def test_hundred_steps_of_a_net_are_the_twins(path: dict[str, Any], dtype: torch.dtype) -> None:
    if unsupported(path, dtype):
        return
    model = small_net().to(dtype)
    optimizer = BetaLasso(param_groups(model, lam=2e-4, lam_first=1e-3), lr=0.1, beta=50, **path)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    generator = torch.Generator().manual_seed(1)
    twins = [[p.detach().clone() for p in group["params"]] for group in optimizer.param_groups]
    zeros_seen = returns_seen = 0
    for _ in range(100):
        inputs = torch.randn(8, 2, 6, 6, generator=generator).to(dtype)
        targets = torch.randint(7, (8,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs).float(), targets).backward()
        for group, group_twins in zip(optimizer.param_groups, twins, strict=True):
            lr, lam, beta = group["lr"], group["lam"], group["beta"]
            for i, (parameter, twin) in enumerate(zip(group["params"], group_twins, strict=True)):
                if lam:
                    group_twins[i] = reference.beta_lasso(twin, parameter.grad, lr, lam, beta)
                    returns_seen += int(((twin == 0) & (group_twins[i] != 0)).sum())
                else:
                    group_twins[i] = reference.sgd(twin, parameter.grad, lr)
        optimizer.step()
        schedule.step()
        for group, group_twins in zip(optimizer.param_groups, twins, strict=True):
            for parameter, twin in zip(group["params"], group_twins, strict=True):
                assert torch.equal(parameter.detach(), twin)
                zeros_seen += int((twin == 0).sum())
    assert zeros_seen > 0
    assert returns_seen > 0


numbers = st.sampled_from([0.0, -0.0, 0.5, -0.5, 0.25, 1.0, -1.0, float("nan"), float("inf")])


@settings(deadline=None, max_examples=100)
@given(st.data(), st.lists(st.integers(0, 5), max_size=4), st.sampled_from(PATHS))
def test_any_shape_and_value_is_the_twins(
    data: st.DataObject, shape: list[int], path: dict[str, Any]
) -> None:
    size = int(torch.Size(shape).numel())
    elements = numbers | st.floats(-2, 2, width=32)
    theta, gradient = (
        torch.tensor(data.draw(st.lists(elements, min_size=size, max_size=size)))
        .float()
        .reshape(shape)
        for _ in range(2)
    )
    parameter = nn.Parameter(theta.clone())
    parameter.grad = gradient
    BetaLasso([parameter], lr=0.5, lam=0.01, beta=50, **path).step()
    expected = reference.beta_lasso(theta, gradient, 0.5, 0.01, 50)
    assert torch.equal(parameter.detach().nan_to_num(9), expected.nan_to_num(9))
    assert torch.equal(parameter.detach().isnan(), expected.isnan())
    assert not (torch.signbit(parameter) & (parameter == 0)).any()


def stepped(
    theta: list[float], gradient: list[float], path: dict[str, Any], **options: float
) -> Tensor:
    parameter = nn.Parameter(torch.tensor(theta))
    parameter.grad = torch.tensor(gradient)
    BetaLasso([parameter], **options, **path).step()
    return parameter.detach()


@paths
def test_one_step_by_hand(path: dict[str, Any]) -> None:
    # η = 1/2, λ = 1/4, β = 2: shrink by 1/8, move by g/2, zero below 1/2.
    found = stepped([1, -1, 0.25, 0, 0.625], [0.5, 0.5, 0, 4, 0], path, lr=0.5, lam=0.25, beta=2)
    # 1−1/4−1/8; −1−1/4+1/8; 1/8 → 0; 0−2 with no shrinkage of a zero; 1/2 meets the threshold.
    assert found.tolist() == [0.625, -1.125, 0, -2, 0.5]


@paths
def test_the_threshold_is_hard_and_not_multiplied_by_lr(path: dict[str, Any]) -> None:
    found = stepped([0.49, 0.51], [0.0, 0.0], path, lr=1e-6, lam=0.01, beta=50)
    assert found[0] == 0
    assert found[1] == pytest.approx(0.51)


@paths
def test_a_zero_returns_exactly_when_the_step_reaches_the_threshold(path: dict[str, Any]) -> None:
    lr, lam, beta = 0.5, 0.25, 2.0  # η|g| ≥ βλ from |g| = 1 on, exactly in float32
    below = torch.nextafter(torch.tensor(1.0), torch.tensor(0.0)).item()
    found = stepped([0.0] * 4, [1.0, -1.0, below, -below], path, lr=lr, lam=lam, beta=beta)
    assert found.tolist() == [-0.5, 0.5, 0, 0]


@paths
def test_shrinks_towards_zero_by_the_sign_of_the_weight_not_of_the_gradient(
    path: dict[str, Any],
) -> None:
    found = stepped([1.0, -1.0], [-1e-3, 1e-3], path, lr=0.1, lam=1.0, beta=0)
    assert found.tolist() == pytest.approx([0.9001, -0.9001])


@paths
def test_nan_is_never_taken_for_zero(path: dict[str, Any]) -> None:
    nan = float("nan")
    assert stepped([nan, 0, 1], [0, nan, nan], path, lr=0.1, lam=0.1, beta=50).isnan().all()


@paths
def test_unregularised_group_is_torch_sgd_bit_for_bit(path: dict[str, Any]) -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(1001) * 1e-3)
    theirs = nn.Parameter(ours.detach().clone())
    optimizers = BetaLasso([ours], lr=0.03, lam=0, **path), torch.optim.SGD([theirs], lr=0.03)
    for _ in range(20):
        ours.grad = theirs.grad = torch.randn(1001)
        for optimizer in optimizers:
            optimizer.step()
    assert torch.equal(ours, theirs)


def test_beta_zero_is_the_lasso_subgradient() -> None:
    theta, gradient = torch.randn(50), torch.randn(50)
    for path in PATHS:
        parameter = nn.Parameter(theta.clone())
        parameter.grad = gradient
        BetaLasso([parameter], lr=0.1, lam=0.01, beta=0, **path).step()
        assert torch.equal(parameter.detach(), reference.lasso(theta, gradient, 0.1, 0.01))


def layouts(tensor: Tensor) -> dict[str, Tensor]:
    spread = torch.zeros(4, 6, 10, 7)
    spread[..., ::2, :] = tensor
    return {
        "contiguous": tensor.clone(),
        "channels_last": tensor.clone(memory_format=torch.channels_last),
        "transposed": tensor.transpose(0, 3).contiguous().transpose(0, 3),
        "strided": spread[..., ::2, :],
    }


@pytest.mark.parametrize("gradient_layout", ["contiguous", "channels_last", "strided"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed", "strided"])
def test_memory_layouts(layout: str, gradient_layout: str) -> None:
    torch.manual_seed(0)
    theta, gradient = torch.randn(4, 6, 5, 7), torch.randn(4, 6, 5, 7)
    expected = reference.beta_lasso(theta, gradient, 0.1, 0.01, 50)
    for path in PATHS:
        parameter = nn.Parameter(layouts(theta)[layout])
        strides = parameter.stride()
        parameter.grad = layouts(gradient)[gradient_layout]
        if path.get("fused") and layout == "strided":
            continue
        BetaLasso([parameter], lr=0.1, lam=0.01, **path).step()
        assert torch.equal(parameter.detach(), expected)
        assert parameter.stride() == strides
        assert torch.equal(parameter.grad, gradient)


@pytest.mark.skipif(not hasattr(Tensor, "grad_dtype"), reason="this torch ties the two dtypes")
@pytest.mark.parametrize("gradient_dtype", [torch.bfloat16, torch.float32])
def test_gradients_of_another_dtype(gradient_dtype: torch.dtype) -> None:
    theta, gradient = torch.randn(99), torch.randn(99).to(gradient_dtype)
    if gradient_dtype == torch.float32:
        theta = theta.bfloat16()
    for path in PATHS:
        parameter = nn.Parameter(theta.clone())
        parameter.grad_dtype = None
        parameter.grad = gradient
        BetaLasso([parameter], lr=0.1, lam=0.01, **path).step()
        assert torch.equal(parameter.detach(), reference.beta_lasso(theta, gradient, 0.1, 0.01, 50))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_process_steps_although_its_parent_ran_kernels() -> None:
    theta, gradient = torch.randn(50), torch.randn(50)
    stepped(theta.tolist(), gradient.tolist(), {"fused": True}, lr=0.1, lam=0.01)
    expected = reference.beta_lasso(theta, gradient, 0.1, 0.01, 50)

    def step_in_child() -> None:
        found = stepped(theta.tolist(), gradient.tolist(), {}, lr=0.1, lam=0.01)
        assert torch.equal(found, expected)
        with pytest.raises(InvalidArgument, match="forked"):
            stepped(theta.tolist(), gradient.tolist(), {"fused": True}, lr=0.1, lam=0.01)

    child = multiprocessing.get_context("fork").Process(target=step_in_child)
    child.start()
    child.join(60)
    assert child.exitcode == 0
