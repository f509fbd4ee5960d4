"""SparseLinear computes what nn.Linear, BatchNorm1d and ReLU compute, in both of its forms."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import scratchconv as sc
from scratchconv.errors import InvalidArgument
from scratchconv.optim import reference

LAM, BETA, LR = 1e-2, 20.0, 0.1
FEATURES, UNITS = 13, 7

modes = pytest.mark.parametrize("mode", ["dense", "sparse"])


def sparsified(*modules: nn.Module, mode: str) -> tuple[nn.Sequential, sc.BetaLasso, nn.Sequential]:
    """A model taken over, its optimizer, and the plain model with the same numbers.

    A third of the weights is zero; unit 2 of every layer has none at all.
    """
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(*modules)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
            if parameter.dim() == 2:
                parameter[torch.rand(parameter.shape, generator=generator) < 0.3] = 0
                parameter[2] = 0
    plain = copy.deepcopy(model)
    optimizer = sc.BetaLasso(sc.param_groups(model, lam=LAM), lr=LR, beta=BETA)
    sc.sparsify(model, optimizer, mode=mode)
    return model, optimizer, plain


def batch(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def backward(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output and input gradient of a loss that tells all outputs apart."""
    x = x.detach().requires_grad_()
    y = model(x)
    loss = (y.float() * batch(*y.shape, seed=2)).sum()
    loss.backward()
    assert x.grad is not None
    return y.detach(), x.grad


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def assert_stepped(model: nn.Module, plain: nn.Module, optimizer: sc.BetaLasso) -> None:
    """A step makes the weights of `model` those of Algorithm 1, from the gradients of `plain`."""
    optimizer.step()
    after = model.state_dict()
    for name, parameter in plain.named_parameters():
        before = parameter.detach()
        gradient = torch.zeros_like(before) if parameter.grad is None else parameter.grad
        if parameter.dim() == 2:
            expected = reference.beta_lasso(before, gradient, LR, LAM, BETA)
        else:
            expected = reference.sgd(before, gradient, LR)
        assert_close(after[name], expected)


STACKS: dict[str, Callable[[], list[nn.Module]]] = {
    "bias": lambda: [nn.Linear(FEATURES, UNITS)],
    "no bias": lambda: [nn.Linear(FEATURES, UNITS, bias=False)],
    "ReLU": lambda: [nn.Linear(FEATURES, UNITS), nn.ReLU()],
    # ε for the unit without weights: its bias's gradient is rounding, over √ε.
    "BatchNorm": lambda: [nn.Linear(FEATURES, UNITS), nn.BatchNorm1d(UNITS, eps=1e-2)],
    "BatchNorm, ReLU": lambda: [
        nn.Linear(FEATURES, UNITS, bias=False),
        nn.BatchNorm1d(UNITS, eps=1e-3, momentum=0.3),
        nn.ReLU(),
    ],
    "two layers": lambda: [
        nn.Linear(FEATURES, 9),
        nn.BatchNorm1d(9),
        nn.ReLU(),
        nn.Linear(9, UNITS),
    ],
    "in place": lambda: [nn.Linear(FEATURES, UNITS), nn.Hardtanh(inplace=True)],
}


@modes
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("stack", STACKS)
def test_outputs_gradients_and_statistics_are_those_of_the_plain_modules(stack, training, mode):
    model, optimizer, plain = sparsified(*STACKS[stack](), mode=mode)
    for seed in range(2):
        plain.load_state_dict(model.state_dict())
        model.train(training)
        plain.train(training)
        optimizer.zero_grad()
        plain.zero_grad()
        x = batch(11, FEATURES, seed=seed)
        for found, expected in zip(backward(model, x), backward(plain, x), strict=True):
            assert_close(found, expected)
        gradients = dict(model.named_parameters())
        for name, parameter in plain.named_parameters():
            if parameter.dim() == 1:
                assert_close(gradients[name].grad, parameter.grad)
            else:
                assert gradients[name].grad is None
        for name, buffer in plain.named_buffers():
            assert_close(model.state_dict()[name], buffer)
        assert_stepped(model, plain, optimizer)


@modes
@pytest.mark.parametrize("shape", [(FEATURES,), (1, FEATURES), (0, FEATURES), (2, 3, FEATURES)])
def test_inputs_of_any_leading_shape(shape, mode):
    model, optimizer, plain = sparsified(nn.Linear(FEATURES, UNITS), nn.ReLU(), mode=mode)
    x = batch(*shape)
    for found, expected in zip(backward(model, x), backward(plain, x), strict=True):
        assert found.shape == expected.shape
        assert_close(found, expected)
    assert_stepped(model, plain, optimizer)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "feature-major": lambda x: x.t().contiguous().t(),
    "every second": lambda x: torch.stack([x, -x], 2)[:, :, 0],
    "expanded": lambda x: x[:1].expand(11, FEATURES),
    "transposed": lambda x: x.view(11, 1, FEATURES).transpose(0, 1),
}


@modes
@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_that_are_not_contiguous(layout, mode):
    model, optimizer, plain = sparsified(nn.Linear(FEATURES, UNITS), nn.ReLU(), mode=mode)
    x = LAYOUTS[layout](batch(11, FEATURES))
    for found, expected in zip(backward(model, x), backward(plain, x), strict=True):
        assert_close(found, expected)
    assert_stepped(model, plain, optimizer)


@modes
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_inputs_of_another_dtype_are_computed_in_float32(dtype, mode):
    model, optimizer, plain = sparsified(*STACKS["BatchNorm, ReLU"](), mode=mode)
    x = batch(11, FEATURES).to(dtype)
    output, gradient = backward(model, x)
    expected, expected_gradient = backward(plain, x.float())
    assert output.dtype == torch.float32
    assert_close(output, expected)
    assert gradient.dtype == dtype
    assert_close(gradient, expected_gradient.to(dtype))
    assert_stepped(model, plain, optimizer)


@modes
def test_under_autocast_activations_are_bfloat16_and_steps_near_those_of_float32(mode):
    model, optimizer, plain = sparsified(*STACKS["two layers"](), mode=mode)
    x = batch(64, FEATURES)
    expected, _ = backward(plain, x)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
    assert y.dtype == torch.bfloat16
    assert (y.float() - expected).norm() < 0.02 * expected.norm()
    (y.float() * batch(64, UNITS, seed=2)).sum().backward()
    optimizer.step()
    for name, parameter in plain.named_parameters():
        moved = model.state_dict()[name] - parameter.detach()
        if name in ("0.bias", "3.weight"):  # without a gradient of its own; with a threshold
            continue
        if parameter.dim() == 1:
            assert (moved + LR * parameter.grad).norm() < 0.05 * (LR * parameter.grad).norm()
    expected_weight = reference.beta_lasso(
        plain[3].weight.detach(), plain[3].weight.grad, LR, LAM, BETA
    )
    error = (model[3].weight.detach() - expected_weight).norm()
    assert error < 0.05 * (expected_weight - plain[3].weight.detach()).norm()


@modes
def test_an_all_zero_layer(mode):
    model, optimizer, plain = sparsified(*STACKS["two layers"](), mode=mode)
    state = plain.state_dict()
    state["0.weight"].zero_()
    plain.load_state_dict(state)
    model.load_state_dict(state)
    assert model[0].density == 0
    assert torch.equal(model[0].nonzero_per_unit(), torch.zeros(9, dtype=torch.int64))
    x = batch(11, FEATURES)
    for found, expected in zip(backward(model, x), backward(plain, x), strict=True):
        assert_close(found, expected)
    # With variance 0 the gradient is γ/√ε times what is left of rounding: compare what is zero.
    optimizer.step()
    assert not model[3].weight.isnan().any()


@modes
def test_counts_of_what_is_left(mode):
    model, _, plain = sparsified(nn.Linear(FEATURES, UNITS), mode=mode)
    layer = model[0]
    nonzero = plain[0].weight != 0
    assert torch.equal(layer.nonzero_per_unit(), nonzero.sum(1))
    assert layer.nonzero_per_unit()[2] == 0
    assert layer.nonzero == nonzero.sum()
    assert layer.density == pytest.approx(nonzero.float().mean().item())
    assert layer.compressed == (mode == "sparse")
    assert torch.equal(layer.weight.detach(), plain[0].weight.detach())
    assert f"density={layer.density:.2%}" in repr(layer)


@modes
def test_changing_the_form_between_backward_and_step_changes_nothing(mode):
    model, optimizer, plain = sparsified(nn.Linear(FEATURES, UNITS), mode=mode)
    x = batch(11, FEATURES)
    backward(model, x)
    backward(plain, x)
    if mode == "dense":
        model[0].compress()
    else:
        model[0].decompress()
    assert_stepped(model, plain, optimizer)


@modes
@pytest.mark.parametrize("passes", ["two batches", "two calls", "twice through one graph"])
def test_gradients_add_up(passes, mode):
    model, optimizer, plain = sparsified(nn.Linear(FEATURES, UNITS), nn.ReLU(), mode=mode)
    first, second = batch(6, FEATURES), batch(5, FEATURES, seed=5)
    for module in (model, plain):
        if passes == "two batches":
            module(first).square().sum().backward()
            module(second).square().sum().backward()
        elif passes == "two calls":
            (module(first).square().sum() + module(second).square().sum()).backward()
        else:
            loss = module(first).square().sum()
            loss.backward(retain_graph=True)
            loss.backward()
    assert_stepped(model, plain, optimizer)


def test_two_batches_are_one_joined():
    stepped = []
    for joined in (True, False):
        model, optimizer, _ = sparsified(nn.Linear(FEATURES, UNITS), nn.ReLU(), mode="sparse")
        x = batch(11, FEATURES)
        for part in (x,) if joined else (x[:4], x[4:]):
            model(part).square().sum().backward()
        optimizer.step()
        stepped.append(model[0].weight)
    assert_close(*stepped)


@modes
@pytest.mark.parametrize("how", ["zero_grad", "step"])
def test_a_gradient_is_forgotten_by(how, mode):
    model, optimizer, _ = sparsified(nn.Linear(FEATURES, UNITS), mode=mode)
    model(batch(11, FEATURES)).sum().backward()
    getattr(optimizer, how)()
    before = model[0].weight.clone()
    optimizer.step()
    assert torch.equal(model[0].weight, before)


@modes
def test_asking_for_other_gradients_leaves_none_for_the_step(mode):
    model, optimizer, _ = sparsified(*STACKS["two layers"](), mode=mode)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = batch(11, FEATURES).requires_grad_()
    model.eval()
    (found,) = torch.autograd.grad(model(x).square().sum(), x)
    assert found.abs().sum() > 0
    torch.autograd.grad(model(x).square().sum(), model[3].bias)
    model(x).square().sum().backward(inputs=[x])
    optimizer.step()
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    model(x).square().sum().backward(inputs=[model[0].values])
    optimizer.step()
    assert not torch.equal(model[0].weight, before["0.weight"])
    assert torch.equal(model[3].weight, before["3.weight"])


@modes
def test_a_frozen_weight_stays_and_hands_gradients_on(mode):
    model, optimizer, plain = sparsified(*STACKS["two layers"](), mode=mode)
    before = model[0].weight.clone()
    model[0].values.requires_grad_(False)
    x = batch(11, FEATURES)
    assert_close(backward(model, x)[1], backward(plain, x)[1])
    optimizer.step()
    assert torch.equal(model[0].weight, before)
    assert not torch.equal(model[3].weight.detach(), plain[3].weight.detach())


def test_a_batch_of_one_under_batch_norm_in_training_is_one_clear_error():
    model, _, plain = sparsified(*STACKS["BatchNorm, ReLU"](), mode="sparse")
    with pytest.raises(InvalidArgument, match=r"a batch of 1.*at least 2 samples"):
        model(batch(1, FEATURES))
    assert_close(model.eval()(batch(1, FEATURES)), plain.eval()(batch(1, FEATURES)))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (batch(3, FEATURES + 1), r"shape \(3, 14\): this layer takes \(…, 13\)"),
        (batch(2, UNITS, FEATURES), r"\(2, 7, 13\).*BatchNorm1d.*\(samples, 13\)"),
        (torch.tensor(1.0), r"shape \(\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x, message):
    model, _, _ = sparsified(*STACKS["BatchNorm"](), mode="sparse")
    with pytest.raises(InvalidArgument, match=message):
        model(x)


def test_autocast_to_float16_is_refused_with_the_remedy():
    model, _, _ = sparsified(nn.Linear(FEATURES, UNITS), mode="sparse")
    with (
        pytest.raises(InvalidArgument, match=r"float16.*bfloat16"),
        torch.autocast("cpu", torch.float16),
    ):
        model(batch(3, FEATURES))


@modes
def test_what_follows_may_work_in_place(mode):
    model, optimizer, plain = sparsified(nn.Linear(FEATURES, UNITS), mode=mode)
    for module in (model, plain):
        y = module(batch(11, FEATURES))
        y += 1
        nn.functional.relu_(y).square().sum().backward()
    assert_stepped(model, plain, optimizer)


@modes
def test_an_input_overwritten_before_the_step_is_an_error(mode):
    model, optimizer, plain = sparsified(nn.Linear(FEATURES, UNITS), mode=mode)
    buffer = batch(FEATURES, 11).t()  # feature-major, so the layer need not copy it
    model(buffer).sum().backward()
    buffer.zero_()
    with pytest.raises(InvalidArgument, match="changed in place between backward and step"):
        optimizer.step()
    x = batch(11, FEATURES)  # copied: the caller may do what it likes
    optimizer.zero_grad()
    backward(model, x)
    backward(plain, x)
    x.zero_()
    assert_stepped(model, plain, optimizer)


@modes
def test_a_step_between_forward_and_backward_is_an_error_as_with_plain_layers(mode):
    model, optimizer, _ = sparsified(nn.Linear(FEATURES, UNITS), mode=mode)
    x = batch(11, FEATURES).requires_grad_()
    late = model(x).sum()
    model(x).sum().backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        late.backward()


@modes
def test_backward_in_eval_mode_uses_the_statistics_of_its_forward_pass(mode):
    model, _, plain = sparsified(*STACKS["BatchNorm"](), mode=mode)
    x = batch(11, FEATURES).requires_grad_()
    (expected,) = torch.autograd.grad(plain.eval()(x).square().sum(), x)
    loss = model.eval()(x).square().sum()
    model.train()(10 * batch(11, FEATURES))
    (found,) = torch.autograd.grad(loss, x)
    assert_close(found, expected)


def test_second_derivatives_are_refused():
    model, _, _ = sparsified(nn.Linear(FEATURES, UNITS), nn.Tanh(), mode="sparse")
    x = batch(3, FEATURES).requires_grad_()
    (slope,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


@modes
@pytest.mark.parametrize("move", [lambda m: m.double(), lambda m: m.half(), lambda m: m.to("meta")])
def test_moving_to_another_dtype_or_device_is_refused(move, mode):
    model, _, plain = sparsified(nn.Linear(FEATURES, UNITS), mode=mode)
    with pytest.raises(InvalidArgument, match=r"float32 on the CPU.*to_dense"):
        move(model)
    x = batch(3, FEATURES)
    assert_close(model.float().cpu()(x), plain(x))
