"""ProximalLasso against its twin, and the soft threshold it promises."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scratchconv.optim import ProximalLasso, reference


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_hundred_steps_are_the_twins(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(17, 5), (3,), (), (0, 4)]
    parameters = [nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for s in shapes]
    twins = [parameter.detach().clone() for parameter in parameters]
    optimizer = ProximalLasso(parameters, lr=0.1, lam=0.5)
    zeros_seen = 0
    for _ in range(100):
        for i, parameter in enumerate(parameters):
            parameter.grad = torch.randn(parameter.shape, generator=generator).to(dtype)
            twins[i] = reference.proximal_lasso(twins[i], parameter.grad, 0.1, 0.5)
            zeros_seen += int((twins[i] == 0).sum())
        optimizer.step()
        for parameter, twin in zip(parameters, twins, strict=True):
            assert torch.equal(parameter.detach(), twin)
    assert zeros_seen > 0


def test_one_step_by_hand() -> None:
    # η = 1/2, λ = 1/2: the threshold is 1/4 and what exceeds it shrinks by 1/4.
    parameter = nn.Parameter(torch.tensor([1.0, -1.0, 0.25, -0.125, 0.0, float("nan")]))
    parameter.grad = torch.tensor([0.5, 0.5, 0.0, 0.0, 1.0, 0.0])
    ProximalLasso([parameter], lr=0.5, lam=0.5).step()
    assert parameter.tolist()[:5] == [0.5, -1.0, 0.0, 0.0, -0.25]
    assert parameter[5].isnan()


def test_finds_the_minimum_of_a_lasso_problem() -> None:
    # min ½‖θ − a‖² + λ‖θ‖₁ is reached by soft-thresholding a by λ.
    target = torch.tensor([2.0, -0.3, 0.5, -1.5])
    parameter = nn.Parameter(torch.zeros(4))
    optimizer = ProximalLasso([parameter], lr=0.5, lam=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        (0.5 * (parameter - target).square().sum()).backward()
        optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([1.5, 0.0, 0.0, -1.0]))
    assert (parameter == 0).sum() == 2


def test_unregularised_group_is_torch_sgd_bit_for_bit() -> None:
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(1001))
    theirs = nn.Parameter(ours.detach().clone())
    ours.grad = theirs.grad = torch.randn(1001)
    ProximalLasso([ours], lr=0.03).step()
    torch.optim.SGD([theirs], lr=0.03).step()
    assert torch.equal(ours, theirs)
