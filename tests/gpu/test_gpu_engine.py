"""`sparsify` on a GPU; without one, the GPU's form on the CPU, where Triton interprets its kernels.

Each step is held against Algorithm 1 on the gradient of the plain model in the same state.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import scratchconv as sc
from scratchconv.errors import InvalidArgument
from scratchconv.kernels import gpu
from scratchconv.optim import param_groups, reference
from scratchconv.sparse import SparseLinear, SwitchAt, taking_over
from scratchconv.training import RunConfig, setup

pytest.importorskip("triton", reason="the GPU's form of a layer needs triton: the extra 'gpu'")

from scratchconv.sparse import gpu_batch_norm
from scratchconv.sparse.gpu_batch_norm import BatchNormReLU
from scratchconv.sparse.gpu_linear import GpuLinear

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LR, LAM, BETA = 0.2, 2e-3, 20.0


@pytest.fixture(autouse=True)
def gpu_forms(monkeypatch):
    monkeypatch.setattr(taking_over, "_GPUS", {"cuda", "cpu"})


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Linear(33, 20, bias=False), nn.BatchNorm1d(20), nn.ReLU()),
        *(nn.Linear(20, 18), nn.ReLU()),
        nn.Linear(18, 3),
    ).to(DEVICE)


def batch(seed: int, samples: int = 10) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    inputs = torch.randn(samples, 33, generator=rng)
    targets = torch.randint(3, (samples,), generator=rng)
    return inputs.to(DEVICE), targets.to(DEVICE)


def optimizer_of(model: nn.Module, **options: float) -> sc.BetaLasso:
    return sc.BetaLasso(param_groups(model, lam=LAM), **{"lr": LR, "beta": BETA, **options})


def sparsified(model: nn.Module, **options: Any) -> tuple[sc.BetaLasso, sc.sparse.Engine]:
    optimizer = optimizer_of(model, **options)
    return optimizer, sc.sparsify(model, optimizer, mode="dense")


def loss_of(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(inputs).float(), targets)


def train_step(model: nn.Module, optimizer: sc.BetaLasso, *data: Tensor) -> None:
    optimizer.zero_grad()
    loss_of(model, *data).backward()
    optimizer.step()


def twin_of(model: nn.Module) -> nn.Sequential:
    twin = network()
    twin.load_state_dict(model.state_dict())
    return twin.train(model.training)


def algorithm_1(twin: nn.Module, lr: float = LR) -> None:
    """One step on the plain model, from the gradients that it has."""
    with torch.no_grad():
        for parameter in twin.parameters():
            assert parameter.grad is not None
            if parameter.ndim == 2:
                moved = reference.beta_lasso(parameter, parameter.grad, lr, LAM, BETA)
            else:
                moved = reference.sgd(parameter, parameter.grad, lr)
            parameter.copy_(moved)


def agree(model: nn.Module, twin: nn.Module, tolerance: float = 2e-5) -> None:
    """Equal up to rounding; at the threshold rounding may decide what becomes zero."""
    for (name, found), expected in zip(
        model.state_dict().items(), twin.state_dict().values(), strict=True
    ):
        either = torch.maximum(found.abs(), expected.abs())
        decided = ((either - BETA * LAM).abs() > tolerance) | (found.ndim != 2)
        torch.testing.assert_close(
            found[decided], expected[decided], rtol=tolerance, atol=tolerance, msg=name
        )


def test_every_step_is_algorithm_1():
    model = network()
    optimizer, made = sparsified(model)
    assert all(type(layer) is GpuLinear for layer in made.layers.values())
    assert type(model[1]) is BatchNormReLU
    returned = 0
    for step in range(20):
        # Larger steps now and then: zeros return.
        lr = LR * (4 if step % 10 == 9 else 1)
        for group in optimizer.param_groups:
            group["lr"] = lr
        twin = twin_of(model)
        before = model[0].weight.detach().clone()
        data = batch(step, samples=10 + step % 3)
        loss_of(twin, *data).backward()
        algorithm_1(twin, lr)
        train_step(model, optimizer, *data)
        agree(model, twin)
        returned += int(((before == 0) & (model[0].weight != 0)).sum())
        assert all(layer.weight.grad is None for layer in made.layers.values())
    zeros = 1 - made.layers["0"].density
    assert 0.2 < zeros < 0.99
    assert returned > 0


def test_bfloat16_products_beside_float32_weights():
    model = network()
    optimizer, made = sparsified(model)
    for step in range(5):
        twin = twin_of(model)
        data = batch(step)
        with torch.autocast(DEVICE, torch.bfloat16):
            loss_of(twin, *data).backward()
            optimizer.zero_grad()
            assert model(data[0]).dtype == torch.bfloat16
            loss_of(model, *data).backward()
        copies = copies_of(made)
        optimizer.step()
        for layer, copied in zip(made.layers.values(), copies, strict=True):
            assert torch.equal(copied, layer.weight.bfloat16())
        # The update wrote them.
        assert all(one is other for one, other in zip(copies_of(made), copies, strict=True))
        algorithm_1(twin)
        agree(model[0], twin[0], tolerance=5e-3)
        agree(model[3], twin[3], tolerance=5e-3)


def copies_of(made: sc.sparse.Engine) -> list[Tensor]:
    return [layer.form._operand(torch.bfloat16) for layer in made.layers.values()]


def test_a_step_in_float32_does_not_leave_an_old_copy():
    model = network()
    optimizer, made = sparsified(model)
    with torch.autocast(DEVICE, torch.bfloat16):
        train_step(model, optimizer, *batch(0))
    train_step(model, optimizer, *batch(1))
    for layer, copied in zip(made.layers.values(), copies_of(made), strict=True):
        assert torch.equal(copied, layer.weight.bfloat16())


def test_gradients_of_the_inputs_are_the_plain_ones():
    model, (inputs, targets) = network(), batch(0)
    found, expected = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    loss_of(twin_of(model), expected, targets).backward()
    sparsified(model)
    loss_of(model, found, targets).backward()
    torch.testing.assert_close(found.grad, expected.grad)


def test_several_backward_passes_add_up():
    model = network()
    optimizer, _ = sparsified(model)
    twin = twin_of(model)
    optimizer.zero_grad()
    for seed, samples in ((0, 10), (1, 5), (2, 17)):
        for network_ in (model, twin):
            loss_of(network_, *batch(seed, samples)).backward()
    optimizer.step()
    algorithm_1(twin)
    agree(model, twin)


def test_zero_grad_forgets_and_autograd_grad_leaves_nothing():
    model, data = network(), batch(0)
    optimizer, _ = sparsified(model)
    before = copy.deepcopy(model.state_dict())
    inputs = data[0].clone().requires_grad_()
    torch.autograd.grad(loss_of(model.eval(), inputs, data[1]), inputs)
    optimizer.step()
    loss_of(model, *data).backward()
    optimizer.zero_grad()
    optimizer.step()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_backward_pass_that_comes_too_late_is_refused():
    model, data = nn.Sequential(nn.Linear(33, 3, bias=False)).to(DEVICE), batch(0)
    optimizer, _ = sparsified(model)
    loss = loss_of(model, *data)
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_inputs_of_more_dimensions():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 18), nn.Linear(18, 5)).to(DEVICE)
    inputs = torch.randn(4, 3, 7, device=DEVICE)
    expected = model(inputs)
    sparsified(model)
    torch.testing.assert_close(model(inputs), expected)
    with pytest.raises(InvalidArgument, match=r"takes \(…, 7\)"):
        model(inputs[..., :5])


@pytest.mark.parametrize("case", ["evaluation", "large batch"])
def test_torch_normalises_where_the_kernel_cannot(case, monkeypatch):
    model, data = network(), batch(0)
    optimizer, _ = sparsified(model)
    train_step(model, optimizer, *batch(1))
    if case == "evaluation":
        model.eval()
    else:
        monkeypatch.setattr(gpu_batch_norm, "MOST_SAMPLES", 9)
    kernel = gpu_batch_norm._BatchNormReLU
    monkeypatch.setattr(kernel, "apply", lambda *_: pytest.fail("not for this batch"))
    twin = twin_of(model)
    loss_of(twin, *data).backward()
    algorithm_1(twin)
    train_step(model, optimizer, *data)
    agree(model, twin)


def test_a_batch_of_one_in_training_is_refused():
    model = network()
    sparsified(model)
    with pytest.raises(ValueError, match="more than 1 value"):
        model(batch(0, samples=1)[0])


def test_only_a_pair_of_batch_norm_and_relu_is_one_kernel():
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 6), nn.ReLU())
    sparsified(model.to(DEVICE))
    assert [type(module) for module in model] == [GpuLinear, nn.BatchNorm1d, GpuLinear, nn.ReLU]


def test_states_are_those_of_the_plain_model():
    model = network()
    plain = network(seed=1)
    optimizer, made = sparsified(model)
    train_step(model, optimizer, *batch(0))
    assert list(model.state_dict()) == list(plain.state_dict())
    model.load_state_dict(plain.state_dict())
    for name, layer in made.layers.items():
        assert layer.nonzero == int(torch.count_nonzero(plain.state_dict()[f"{name}.weight"]))
    loss_of(plain, *batch(1)).backward()
    algorithm_1(plain)
    train_step(model, optimizer, *batch(1))
    agree(model, plain)


def test_to_dense_gives_the_plain_model_back():
    model = network()
    optimizer, made = sparsified(model)
    train_step(model, optimizer, *batch(0))
    kinds = [type(module) for module in network()]
    twin = twin_of(model)
    assert made.to_dense() is model
    assert [type(module) for module in model] == kinds
    assert [set(vars(module)) for module in model] == [set(vars(module)) for module in twin]
    loss_of(twin, *batch(1)).backward()
    algorithm_1(twin)
    train_step(model, optimizer, *batch(1))
    agree(model, twin)


def test_copies_go_on_alike():
    model = network()
    optimizer, _ = sparsified(model)
    train_step(model, optimizer, *batch(0))
    other, other_optimizer = copy.deepcopy((model, optimizer))
    for step in range(1, 4):
        train_step(model, optimizer, *batch(step))
        train_step(other, other_optimizer, *batch(step))
    for one, two in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    assert model[0].weight is not other[0].weight


def test_nonzeros_are_counted_on_the_device_and_recorded():
    model = network()
    optimizer, made = sparsified(model)
    counted = []
    for step in range(3):
        train_step(model, optimizer, *batch(step))
        counted.append(int(torch.count_nonzero(model[0].weight)))
    layer = made.layers["0"]
    assert torch.equal(layer.nonzero_per_unit(), torch.count_nonzero(layer.weight, dim=1))
    record = [line for line in made.take_record() if line["layer"] == "0"]
    assert [line["nonzero"] for line in record] == counted
    assert [line["step"] for line in record] == [1, 2, 3]
    assert all(type(line["nonzero"]) is int for line in record)
    assert made.take_record() == []
    with torch.no_grad():
        layer.weight.zero_()
    assert layer.nonzero == 0


class Waits(TorchDispatchMode):
    """Finds operations that bring numbers to the host, or sizes that depend on them."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        waiting = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select")
        assert function.overloadpacket.__name__ not in waiting, function
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_no_step_reads_a_number_from_the_device(precision):
    model = network()
    optimizer, _ = sparsified(model)
    data = [batch(step) for step in range(2)]
    with Waits():
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            data[0][0].sum().item()
        for inputs, targets in data:
            optimizer.zero_grad()
            with torch.autocast(DEVICE, precision, enabled=precision != torch.float32):
                loss = loss_of(model, inputs, targets)
            loss.backward()
            optimizer.step()


def test_compressed_layers_are_for_the_cpu():
    for options in ({"mode": "sparse"}, {"switch_at": {"0": SwitchAt(0.1, 0.2)}, "mode": "dense"}):
        model = network()
        with pytest.raises(InvalidArgument, match="compressed on the CPU only"):
            sc.sparsify(model, optimizer_of(model), **options)
        assert type(model[0]) is nn.Linear
    _, made = sparsified(model)
    with pytest.raises(InvalidArgument, match="no compressed form"):
        made.layers["0"].compress()
    # A run that was begun on a CPU, with compressed layers, goes on.
    made.load_state({"0": {"compressed": True, "steps": 7}})
    assert made.state()["0"] == {"compressed": False, "steps": 7}


def test_auto_stays_dense_and_leaves_small_layers_alone(monkeypatch):
    model = network()
    made = sc.sparsify(model, optimizer_of(model))
    assert not made.layers
    assert "too few" in made.left["0"]
    monkeypatch.setattr("scratchconv.sparse.engine.SMALLEST", 500)
    optimizer = optimizer_of(model)
    made = sc.sparsify(model, optimizer)
    assert list(made.layers) == ["0"]
    train_step(model, optimizer, *batch(0))
    assert not made.layers["0"].compressed


def test_without_triton_a_model_is_left_alone(monkeypatch):
    monkeypatch.setattr(gpu, "available", lambda device: False)
    model = network()
    made = sc.sparsify(model, optimizer_of(model))
    assert "needs Triton" in made.left["0"]
    assert type(model[0]) is nn.Linear
    with pytest.raises(InvalidArgument, match="needs Triton"):
        sc.sparsify(model, optimizer_of(model), mode="dense")


def test_other_half_precision_is_refused():
    model = network()
    sparsified(model)
    with (
        torch.autocast(DEVICE, torch.float16),
        pytest.raises(InvalidArgument, match=f'autocast\\("{DEVICE}", torch.bfloat16'),
    ):
        model(batch(0)[0])


def test_a_sparsified_model_is_not_moved():
    model = network()
    sparsified(model)
    with pytest.raises(InvalidArgument, match="to_dense"):
        model.to("meta")


def test_models_on_the_cpu_keep_the_form_of_the_cpu(monkeypatch):
    monkeypatch.undo()
    model = network().cpu()
    _, made = sparsified(model)
    assert {type(layer) for layer in made.layers.values()} == {SparseLinear}


@pytest.mark.parametrize(
    ("choice", "here", "told"),
    [("auto", False, None), ("dense", False, "Triton"), ("sparse", True, "always dense")],
)
def test_the_training_command_says_why_not(choice, here, told, monkeypatch):
    monkeypatch.setattr(gpu, "available", lambda device: here)
    model = network()
    optimizer = optimizer_of(model)
    arguments = (model, optimizer, torch.device("cuda"), "bf16", None)
    config = RunConfig(engine=choice, lam=LAM)
    if told is None:
        assert setup._engine(config, *arguments) is None
    else:
        with pytest.raises(InvalidArgument, match=f"--engine {choice}: on cuda .*{told}"):
            setup._engine(config, *arguments)
