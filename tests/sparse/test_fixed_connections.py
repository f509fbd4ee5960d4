"""`fix_connections` trains as the dense layers would if all other weights were held at zero."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import scratchconv as sc
from scratchconv.analysis import sparsity
from scratchconv.errors import InvalidArgument
from scratchconv.sparse import FixedLinear

Optimizer = Callable[[nn.Module], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Optimizer] = {
    "SGD": lambda m: torch.optim.SGD(m.parameters(), lr=0.1),
    "momentum, weight decay": lambda m: torch.optim.SGD(
        m.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-2, nesterov=True
    ),
    "foreach": lambda m: torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9, foreach=True),
    "Adam": lambda m: torch.optim.Adam(m.parameters(), lr=1e-2, fused=True),
}
optimizers = pytest.mark.parametrize("optimizer_of", OPTIMIZERS.values(), ids=OPTIMIZERS)


def network(features: int = 13, units: int = 20, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Linear(features, units, bias=False), nn.BatchNorm1d(units), nn.ReLU()),
        *(nn.Linear(units, 9), nn.ReLU()),
        nn.Linear(9, 3),
    )


def masks_of(model: nn.Module, density: float = 0.3, seed: int = 1) -> dict[str, Tensor]:
    """Of the first two layers; unit 2 of each has no connection."""
    generator = torch.Generator().manual_seed(seed)
    masks = {}
    for name in ("0.weight", "3.weight"):
        masks[name] = torch.rand(model.get_parameter(name).shape, generator=generator) < density
        masks[name][2] = False
    return masks


def batch(features: int, samples: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, features, generator=generator)
    return x, torch.randint(3, (samples,), generator=generator)


def loss_of(model: nn.Module, samples: int = 21, seed: int = 0) -> Tensor:
    features = model[0].in_features  # type: ignore[index, union-attr]
    x, y = batch(int(features), samples, seed)
    return nn.functional.cross_entropy(model(x).float(), y)


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: range,
    *,
    masks: dict[str, Tensor] | None = None,
    samples: int = 21,
) -> None:
    """`masks`: hold the weights of a dense model by hand."""
    for seed in steps:
        optimizer.zero_grad()
        loss_of(model, samples, seed).backward()
        optimizer.step()
        hold(model, masks or {})


@torch.no_grad()
def hold(model: nn.Module, masks: dict[str, Tensor]) -> None:
    for name, mask in masks.items():
        model.get_parameter(name).mul_(mask)


def assert_same(model: nn.Module, plain: nn.Module, tolerance: float = 1e-4) -> None:
    one, other = model.state_dict(), plain.state_dict()
    assert list(one) == list(other)
    for name, tensor in one.items():
        # As wholes: Adam divides by gradients, small ones too, where rounding shows.
        distance = torch.linalg.vector_norm((tensor - other[name]).float())
        size = torch.linalg.vector_norm(other[name].float())
        assert distance <= tolerance * (size + 0.1), name


@optimizers
@settings(deadline=None, max_examples=15)
@given(
    st.integers(1, 40),
    st.sampled_from([3, 17, 40]),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    st.sampled_from([5, 31, 33, 64]),
)
def test_any_optimizer_trains_the_connections_as_if_all_else_were_held_at_zero(
    optimizer_of, features, units, density, samples
):
    model, plain = network(features, units), network(features, units)
    masks = masks_of(model, density)
    hold(plain, masks)
    sc.fix_connections(model, masks)
    assert_same(model, plain, 0)
    train(model, optimizer_of(model), range(4), samples=samples)
    train(plain, optimizer_of(plain), range(4), masks=masks, samples=samples)
    assert_same(model, plain, 1e-2)
    for name, mask in masks.items():
        assert not model.state_dict()[name][~mask].any()


def test_the_optimizer_may_be_made_before_or_after():
    found = []
    for first in (True, False):
        model = network()
        optimizer = OPTIMIZERS["foreach"](model)
        sc.fix_connections(model, masks_of(model))
        train(model, optimizer if first else OPTIMIZERS["foreach"](model), range(5))
        found.append(model)
    assert_same(*found, 0)


@optimizers
def test_an_optimizer_that_has_taken_steps_goes_on_with_what_it_remembers(optimizer_of):
    model, plain = network(), network()
    masks = masks_of(model)
    optimizer, other = optimizer_of(model), optimizer_of(plain)
    for one, its in ((model, optimizer), (plain, other)):
        train(one, its, range(3))
        hold(one, masks)
    for name, mask in masks.items():
        for value in other.state[plain.get_parameter(name)].values():
            if isinstance(value, Tensor) and value.shape == mask.shape:
                value.mul_(mask)
    fixed = sc.fix_connections(model, masks, optimizer=optimizer)
    train(model, optimizer, range(3, 6))
    train(plain, other, range(3, 6), masks=masks)
    assert_same(model, plain, 2e-3)
    # And back: what has been connected goes on, all else begins.
    remembered = {
        key: value
        for key, value in optimizer.state[model[0].values].items()
        if isinstance(value, Tensor) and value.numel() > 1
    }
    fixed.to_dense()
    mask = masks["0.weight"]
    for key, value in remembered.items():
        torch.testing.assert_close(optimizer.state[model[0].weight][key][mask], value)
        assert not optimizer.state[model[0].weight][key][~mask].any()
    train(model, optimizer, range(6, 9))
    assert model[0].weight[~masks["0.weight"]].count_nonzero() > 100


def test_a_loss_of_before_that_is_still_there_does_no_harm():
    model = network()
    masks = masks_of(model)
    optimizer = OPTIMIZERS["foreach"](model)
    losses = [loss_of(model)]
    fixed = sc.fix_connections(model, masks, optimizer=optimizer)
    for _ in range(2):
        losses.append(loss_of(model))
        losses[-1].backward()
        optimizer.step()
    fixed.layers["0"].decompress()
    fixed.to_dense()
    optimizer.zero_grad()
    losses.append(loss_of(model))
    losses[-1].backward()
    optimizer.step()
    engine_model = network()
    beta_lasso = sc.BetaLasso(sc.param_groups(engine_model, lam=1e-3), lr=0.1)
    losses.append(loss_of(engine_model))
    engine = sc.sparsify(engine_model, beta_lasso, mode="sparse")
    losses.append(loss_of(engine_model))
    losses[-1].backward()
    beta_lasso.step()
    engine.to_dense()
    loss_of(engine_model).backward()


def test_optimizers_that_cannot_go_on_are_refused():
    model, other = network(), network()
    masks = masks_of(model)
    with pytest.raises(InvalidArgument, match=r"SGD that was given does not train 0.weight"):
        sc.fix_connections(model, masks, optimizer=OPTIMIZERS["SGD"](other))
    factored = torch.optim.Adafactor(model.parameters())
    train(model, factored, range(1))
    with pytest.raises(InvalidArgument, match=r"Adafactor remembers row_var of 0.weight"):
        sc.fix_connections(model, masks, optimizer=factored)
    assert type(model[0]) is nn.Linear


def test_in_bfloat16_too():
    model, plain = network(), network()
    masks = masks_of(model)
    hold(plain, masks)
    sc.fix_connections(model, masks)
    with torch.autocast("cpu", torch.bfloat16):
        loss, expected = loss_of(model), loss_of(plain)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=2e-2, atol=0)
    found, dense = model[0].values.grad, plain[0].weight.grad[masks["0.weight"]]
    assert found.dtype == torch.float32
    assert torch.linalg.vector_norm(found - dense) < 0.05 * torch.linalg.vector_norm(dense)


def test_gradients_add_up_and_can_be_clipped_or_asked_for():
    model = network()
    masks = masks_of(model)
    layer = sc.fix_connections(model, masks).layers["0"]
    (asked,) = torch.autograd.grad(loss_of(model), [layer.values])
    assert layer.values.grad is None
    assert asked.shape == (int(masks["0.weight"].sum()),)
    loss_of(model).backward()
    torch.testing.assert_close(layer.values.grad, asked)
    loss_of(model).backward()
    torch.testing.assert_close(layer.values.grad, 2 * asked)
    nn.utils.clip_grad_norm_([layer.values], 1e-3)
    assert layer.values.grad.norm() == pytest.approx(1e-3, rel=1e-3)


def test_a_connection_may_have_a_weight_of_zero_and_still_learns():
    model = network()
    with torch.no_grad():
        model[0].weight.zero_()
    masks = {"0.weight": torch.ones(20, 13, dtype=torch.bool)}
    layer = sc.fix_connections(model, masks).layers["0"]
    assert (layer.nonzero, layer.density) == (0, 0)
    # BatchNorm of equal sums: its gradient is zero, whatever comes back. Behind a bias it is not.
    model[1] = nn.Identity()
    layer.batch_norm = layer.relu = None
    with torch.no_grad():
        layer.bias = nn.Parameter(torch.ones(20))
    train(model, OPTIMIZERS["SGD"](model), range(2))
    assert layer.nonzero == 20 * 13
    assert sparsity(model)[0].nonzero == 20 * 13


def test_weights_go_in_and_out_as_of_the_dense_layer():
    model, other = network(), network(seed=3)
    masks = masks_of(model)
    fixed = sc.fix_connections(model, masks)
    hold(other, masks)
    assert isinstance(fixed.layers["0"], FixedLinear)
    assert not model.load_state_dict(other.state_dict()).missing_keys
    assert_same(model, other, 0)
    assert fixed.layers["0"].compressed
    with pytest.raises(RuntimeError, match=r"0.weight has \d+ weights where .* no connection"):
        model.load_state_dict(network().state_dict())
    with pytest.raises(RuntimeError, match=r"0\.weight"):
        model.load_state_dict({**other.state_dict(), "0.weight": 3})
    torch.testing.assert_close(model[0].weight, other[0].weight.detach())
    # In place of the values, a whole matrix: what lies between the connections is not taken.
    model[0].values.data = torch.ones(20, 13)
    torch.testing.assert_close(model[0].weight, masks["0.weight"].float())
    model[0].reset_parameters()
    assert model[0].weight[masks["0.weight"]].ne(0).all()
    assert not model[0].weight[~masks["0.weight"]].any()


def test_weights_are_written_between_decompress_and_compress():
    model = network()
    masks = masks_of(model)
    layer = sc.fix_connections(model, masks).layers["0"]
    with torch.no_grad():
        with pytest.raises(InvalidArgument, match=r"decompress.. of the layer .* compress.. of it"):
            layer.weight.fill_(2.0)
        layer.decompress()
        layer.weight.fill_(2.0)
    # Its gradient is one of the connections in this form too.
    loss_of(model).backward()
    dense = layer.values.grad
    assert dense.shape == (20, 13)
    assert not dense[~masks["0.weight"]].any()
    layer.compress()
    assert layer.values.grad is None
    torch.testing.assert_close(layer.weight.detach(), 2.0 * masks["0.weight"])
    loss_of(model).backward()
    assert layer.values.grad.shape == (int(masks["0.weight"].sum()),)


def test_a_copy_trains_by_itself():
    model = network()
    sc.fix_connections(model, masks_of(model))
    twin = copy.deepcopy(model)
    train(twin, OPTIMIZERS["foreach"](twin), range(3))
    assert_same(model, masked_network(), 0)
    train(model, OPTIMIZERS["foreach"](model), range(3))
    assert_same(model, twin, 0)


def masked_network() -> nn.Sequential:
    model = network()
    hold(model, masks_of(model))
    return model


def test_back_to_plain_modules():
    model = network()
    fixed = sc.fix_connections(model, masks_of(model))
    train(model, OPTIMIZERS["foreach"](model), range(3))
    x, _ = batch(13, 8, 0)
    model.eval()
    expected = model(x)
    assert fixed.to_dense() is model
    assert fixed.layers == {}
    assert [type(module) for module in model] == [type(module) for module in network()]
    assert set(model[0].__dict__) == set(network()[0].__dict__)
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)


def test_beta_lasso_regularises_the_connections_and_its_engine_leaves_them_alone():
    model = network()
    layers = sc.fix_connections(model, masks_of(model)).layers
    groups = sc.param_groups(model, lam=1e-3)
    assert groups[0]["params"] == [layers["0"].values]
    assert groups[1]["params"] == [layers["3"].values, model[5].weight]
    engine = sc.sparsify(model, sc.BetaLasso(groups, lr=0.1), mode="sparse")
    assert list(engine.layers) == ["5"]
    assert engine.left == dict.fromkeys(["0", "3"], "it is a FixedLinear already")


def test_a_model_may_be_one_layer_alone():
    layer = nn.Linear(13, 20)
    mask = masks_of(network())["0.weight"]
    alone = nn.Sequential(copy.deepcopy(layer))
    with torch.no_grad():
        alone[0].weight[~mask] = 0
    fixed = sc.fix_connections(layer, {"weight": mask})
    assert list(fixed.layers.values()) == [layer]
    x, _ = batch(13, 8, 0)
    torch.testing.assert_close(layer(x), alone(x), rtol=1e-4, atol=1e-5)


def test_samples_may_lie_in_more_than_one_dimension():
    model = nn.Sequential(nn.Linear(4, 3))
    sc.fix_connections(model, {"0.weight": torch.eye(3, 4) > 0})
    model(torch.ones(2, 5, 4)).sum().backward()
    assert model[0].values.grad.tolist() == [10, 10, 10]


def wrong_masks() -> dict[str, tuple[dict[str, Tensor], str]]:
    mask = masks_of(network())["0.weight"]
    return {
        "none": ({}, "no mask is given"),
        "name": ({"1.weight": mask}, r"unknown weight of a linear layer '1.weight'.*0.weight"),
        "bias": ({"3.bias": mask}, "unknown weight of a linear layer '3.bias'"),
        "array": ({"0.weight": mask.numpy()}, "mask of 0.weight is of type ndarray: give a tensor"),
        "shape": ({"0.weight": mask.t()}, r"torch.bool of shape \(13, 20\).* of shape \(20, 13\)"),
        "dtype": ({"0.weight": mask.float()}, "is torch.float32 of shape"),
    }


@pytest.mark.parametrize(("masks", "message"), wrong_masks().values(), ids=wrong_masks())
def test_masks_that_do_not_fit(masks, message):
    model = network()
    with pytest.raises(InvalidArgument, match=message):
        sc.fix_connections(model, masks)
    assert type(model[0]) is nn.Linear


def test_layers_that_cannot_be_taken_over():
    model = network()
    model[3].weight = model[5].weight = nn.Parameter(torch.zeros(9, 20))
    with pytest.raises(InvalidArgument, match=r"3.weight cannot be fixed: another layer shares"):
        sc.fix_connections(model, masks_of(network()))
    assert type(model[0]) is nn.Linear
    once = network()
    sc.fix_connections(once, masks_of(once))
    with pytest.raises(InvalidArgument, match="it is a FixedLinear already"):
        sc.fix_connections(once, masks_of(network()))
    with pytest.raises(
        InvalidArgument, match="DataParallel cannot be fixed: fix those of the model"
    ):
        sc.fix_connections(nn.DataParallel(network()), masks_of(network()))
