"""BetaLasso and ProximalLasso as torch optimizers: what a training loop may do with them."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scratchconv.errors import InvalidArgument, ScratchconvError
from scratchconv.optim import BetaLasso, ProximalLasso

Make = Callable[[Iterable[Any]], torch.optim.Optimizer]
makes = pytest.mark.parametrize(
    "make",
    [
        lambda params: BetaLasso(params, lr=0.1, lam=1e-3),
        lambda params: BetaLasso(params, lr=0.1, lam=1e-3, foreach=True),
        lambda params: ProximalLasso(params, lr=0.1, lam=1e-3),
    ],
    ids=["beta-lasso", "beta-lasso-foreach", "proximal-lasso"],
)


def parameter_with_gradient(*shape: int, seed: int = 0) -> nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    parameter = nn.Parameter(torch.randn(shape, generator=generator))
    parameter.grad = torch.randn(shape, generator=generator)
    return parameter


@makes
def test_state_dict_carries_the_options_over(make: Make) -> None:
    optimizer = make([parameter_with_gradient(5)])
    optimizer.param_groups[0]["lr"] = 0.025
    stored = io.BytesIO()
    torch.save(optimizer.state_dict(), stored)
    stored.seek(0)
    other = make([parameter_with_gradient(5)])
    other.load_state_dict(torch.load(stored, weights_only=True))
    assert other.param_groups[0]["lr"] == 0.025
    optimizer.step()
    other.step()
    assert torch.equal(optimizer.param_groups[0]["params"][0], other.param_groups[0]["params"][0])


@makes
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_copies_step_like_the_original(
    make: Make, duplicate: Callable[[torch.optim.Optimizer], torch.optim.Optimizer]
) -> None:
    optimizer = make([parameter_with_gradient(5)])
    twin = duplicate(optimizer)
    parameter, other = (o.param_groups[0]["params"][0] for o in (optimizer, twin))
    other.grad = parameter.grad.clone()
    optimizer.step()
    assert not torch.equal(parameter, other)
    twin.step()
    assert torch.equal(parameter, other)


@makes
def test_closure_is_called_with_gradients_enabled_and_its_loss_returned(make: Make) -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = make([parameter])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = parameter.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 3
    assert (parameter < 1).all()
    assert optimizer.step() is None


@makes
def test_parameters_without_gradient_stay(make: Make) -> None:
    with_gradient, without = parameter_with_gradient(3), nn.Parameter(torch.full((3,), 1e-9))
    before = with_gradient.detach().clone()
    make([without, with_gradient]).step()
    assert torch.equal(without, torch.full((3,), 1e-9))
    assert not torch.equal(with_gradient, before)


@makes
def test_schedulers_and_tensor_learning_rates(make: Make) -> None:
    by_number, by_tensor = parameter_with_gradient(9), parameter_with_gradient(9)
    one, other = make([by_number]), make([by_tensor])
    one.param_groups[0]["lr"] = 0.25
    other.param_groups[0]["lr"] = torch.tensor([0.25])
    schedules = [torch.optim.lr_scheduler.ExponentialLR(o, 0.5) for o in (one, other)]
    for _ in range(3):
        for optimizer, schedule in zip((one, other), schedules, strict=True):
            optimizer.step()
            schedule.step()
    assert torch.equal(by_number, by_tensor)


@makes
def test_grad_scaler_unscales_and_skips_steps_with_infinite_gradients(make: Make) -> None:
    start = torch.tensor([1.0, -2.0, 0.5])
    scaled, plain = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    optimizer, twin = make([scaled]), make([plain])
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(scaled.square().sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    plain.square().sum().backward()
    twin.step()
    assert torch.equal(scaled, plain)

    before = scaled.detach().clone()
    optimizer.zero_grad()
    scaler.scale((scaled * torch.tensor([1.0, float("inf"), 1.0])).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(scaled, before)
    assert scaler.get_scale() == 512

    optimizer.zero_grad()
    scaler.scale(scaled.square().sum()).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_([scaled], 1e-3)
    scaler.step(optimizer)
    assert not torch.equal(scaled, before)


@makes
def test_a_step_between_forward_and_backward_is_refused(make: Make) -> None:
    parameter = parameter_with_gradient(4)
    loss = parameter.square().sum()
    make([parameter]).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@makes
def test_step_leaves_gradients_as_they_are(make: Make) -> None:
    parameter = parameter_with_gradient(40)
    before = parameter.grad.clone()
    make([parameter]).step()
    assert torch.equal(parameter.grad, before)


@makes
def test_added_groups_keep_their_own_options(make: Make) -> None:
    first, second = parameter_with_gradient(4), parameter_with_gradient(4)
    optimizer = make([first])
    optimizer.add_param_group({"params": [second], "lam": 0.0, "lr": 0.5})
    start, gradient = second.detach().clone(), second.grad
    optimizer.step()
    assert torch.equal(second.detach(), start.add(gradient, alpha=-0.5))
    assert not torch.equal(first, second)


@makes
@pytest.mark.parametrize("name", ["lr", "lam"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), "much", torch.ones(2)])
def test_invalid_options_name_the_option(make: Make, name: str, value: Any) -> None:
    optimizer = make([parameter_with_gradient(4)])
    with pytest.raises(InvalidArgument, match=name):
        type(optimizer)([parameter_with_gradient(4)], **{name: value})
    with pytest.raises(ValueError, match=name):
        optimizer.add_param_group({"params": [parameter_with_gradient(4)], name: value})
    assert len(optimizer.param_groups) == 1


@makes
def test_sparse_gradients_are_refused_with_the_remedy(make: Make) -> None:
    embedding = nn.Embedding(5, 3, sparse=True)
    embedding(torch.tensor([1, 2])).sum().backward()
    optimizer = make(embedding.parameters())
    with pytest.raises(InvalidArgument, match="sparse=False"):
        optimizer.step()


@makes
def test_complex_parameters_are_refused(make: Make) -> None:
    with pytest.raises(InvalidArgument, match="complex64"):
        make([nn.Parameter(torch.zeros(3, dtype=torch.complex64))])


@makes
def test_mixed_dtypes_in_one_group(make: Make) -> None:
    dtypes = torch.float32, torch.bfloat16, torch.float64, torch.float16
    together = [nn.Parameter(torch.linspace(-1, 1, 7).to(dtype)) for dtype in dtypes]
    alone = [nn.Parameter(parameter.detach().clone()) for parameter in together]
    for parameter in together + alone:
        parameter.grad = torch.full_like(parameter, 0.125)
    make(together).step()
    for parameter, other in zip(alone, together, strict=True):
        make([parameter]).step()
        assert torch.equal(parameter, other)
        assert parameter.abs().min() != 0.125


def test_beta_is_checked() -> None:
    with pytest.raises(InvalidArgument, match="beta must be finite and at least 0, not -50"):
        BetaLasso([parameter_with_gradient(4)], beta=-50)


def test_paths_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="choose one"):
        BetaLasso([parameter_with_gradient(4)], foreach=True, fused=True)
    with pytest.raises(InvalidArgument, match=r"torch\.float64.*leave fused=None"):
        BetaLasso([nn.Parameter(torch.zeros(3, dtype=torch.float64))], fused=True)
    with pytest.raises(InvalidArgument, match=r"strides \(2,\)"):
        BetaLasso([nn.Parameter(torch.zeros(8)[::2])], fused=True)


def test_refusals_are_errors_of_the_library() -> None:
    with pytest.raises(ScratchconvError):
        BetaLasso([parameter_with_gradient(4)], lr=-1)
