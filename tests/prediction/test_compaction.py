"""What is left of a model computes what the model computes, and nothing superfluous is left."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from scratchconv import models
from scratchconv.errors import InvalidArgument
from scratchconv.nn import LocallyConnected2d
from scratchconv.optim import BetaLasso, param_groups
from scratchconv.prediction import CompactNetwork, Predictor, compact
from scratchconv.sparse import fix_connections, sparsify

FIXTURES = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def computed(network: CompactNetwork, inputs: torch.Tensor) -> np.ndarray:
    """The compacted layers applied in float64, in numpy."""
    x = inputs.double().flatten(1).numpy()[:, network.inputs]
    for layer in network.layers:
        x = x @ layer.matrix.to_dense().T.astype(np.float64) + layer.bias
        x = np.maximum(x, 0) if layer.relu else x
    return x


def check_equal(network: CompactNetwork, model: nn.Module, inputs: torch.Tensor) -> None:
    """Equal to the model in float64, but for weights and biases rounded to float32 once."""
    with torch.no_grad():
        expected = copy.deepcopy(model).eval().double()(inputs.double()).numpy()
    scale = max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(computed(network, inputs), expected, rtol=0, atol=2e-6 * scale)


def check_nothing_superfluous(network: CompactNetwork) -> None:
    """All that is left has a weight in and, but for the classes, a reader."""
    for number, layer in enumerate(network.layers):
        last = number == len(network.layers) - 1
        assert layer.matrix.values.all()
        assert last or (np.diff(layer.matrix.offsets) > 0).all()
        read = np.unique(layer.matrix.columns)
        np.testing.assert_array_equal(read, np.arange(layer.matrix.features))
        assert layer.units.size == layer.matrix.rows == layer.bias.size


@FIXTURES
@given(
    name=st.sampled_from(["s-fc", "s-local", "3-fc", "d-fc", "d-local"]),
    image=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    density=st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]),
    classes=st.sampled_from([1, 2, 7]),
    seed=st.integers(0, 1000),
)
def test_every_network_of_the_package(network, name, image, density, classes, seed):
    alpha = 13 if name == "3-fc" else 1
    model = network(name, image=image, alpha=alpha, classes=classes, density=density, seed=seed)
    inputs = torch.randn(6, *image, generator=torch.Generator().manual_seed(seed))
    compacted = compact(model)
    check_equal(compacted, model, inputs)
    check_nothing_superfluous(compacted)
    assert compacted.image == image
    assert compacted.classes == classes


@st.composite
def sequentials(draw: st.DrawFn) -> tuple[nn.Sequential, int]:
    """Any order of BatchNorm, ReLU and Dropout between linear layers."""
    features = width = draw(st.integers(1, 12))
    modules: list[nn.Module] = [nn.Flatten()] if draw(st.booleans()) else []
    if draw(st.booleans()):
        modules.append(nn.BatchNorm1d(width))
    for _ in range(draw(st.integers(1, 3))):
        after = draw(st.integers(1, 12))
        modules.append(nn.Linear(width, after, bias=draw(st.booleans())))
        width = after
        for kind in draw(st.lists(st.sampled_from("brdi"), max_size=4)):
            modules.append(
                {
                    "b": nn.BatchNorm1d(width, affine=draw(st.booleans())),
                    "r": nn.ReLU(inplace=draw(st.booleans())),
                    "d": nn.Dropout(0.5),
                    "i": nn.Sequential(nn.Identity()),
                }[kind]
            )
    return nn.Sequential(*modules), features


@FIXTURES
@given(sequentials(), st.sampled_from([0.0, 0.2, 0.6, 1.0]), st.integers(0, 1000))
def test_any_sequential_chain(sparsened, drawn, density, seed):
    model, features = drawn
    sparsened(model, density, seed)
    inputs = torch.randn(5, features, generator=torch.Generator().manual_seed(seed))
    check_equal(compact(model), model, inputs)


def test_local_layers_in_a_sequential(sparsened):
    model = nn.Sequential(
        LocallyConnected2d(2, 3, (3, 2), image_size=(5, 7), stride=(2, 1), padding=(1, 0)),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        LocallyConnected2d(3, 2, 2, image_size=(3, 6), bias=False),
        nn.Flatten(),
        nn.Linear(20, 4),
    )
    sparsened(model, 0.5, 0)
    compacted = compact(model)
    assert compacted.image == (2, 5, 7)
    check_equal(compacted, model, torch.randn(4, 2, 5, 7))


def test_constants_are_folded_and_unread_units_and_inputs_dropped():
    first, second, last = nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 2)
    with torch.no_grad():
        for layer in (first, second, last):
            layer.weight.zero_()
            layer.bias.zero_()
        first.weight[0, 1] = 2.0  # unit 0 reads input 1
        first.bias[1] = 5.0  # unit 1 is the constant 5
        first.weight[2, 3] = 1.0  # unit 2 is read by no one
        second.weight[0, 0] = 1.0
        second.weight[1, 1] = 2.0  # reads only a constant: is the constant 10
        last.weight[0] = torch.tensor([1.0, 3.0, 4.0])
        last.bias[1] = 7.0  # a class that is constant stays
    model = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
    compacted = compact(model)
    assert compacted.inputs.tolist() == [1]
    assert [layer.units.tolist() for layer in compacted.layers] == [[0], [0], [0, 1]]
    assert compacted.layers[-1].matrix.to_dense().tolist() == [[1.0], [0.0]]
    assert compacted.layers[-1].bias.tolist() == [30.0, 7.0]
    assert [layer.name for layer in compacted.layers] == ["0", "2", "4"]


def test_a_network_without_weights_is_its_biases(network):
    model = network(density=0)
    compacted = compact(model)
    assert len(compacted.layers) == 1
    assert compacted.inputs.size == 0
    check_equal(compacted, model, torch.randn(3, 3, 8, 6))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions(network, dtype):
    model = network().to(dtype)
    check_equal(compact(model), model, torch.randn(3, 3, 8, 6))


def test_the_model_is_left_as_it_was_and_taken_as_in_evaluation(network):
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    compacted = compact(model)
    assert model.training
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    check_equal(compacted, model, torch.randn(3, 3, 8, 6))


def test_subnormal_weights_are_dropped():
    model = nn.Linear(3, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1e-40, 1.0, 0.0]]))
    assert compact(model).inputs.tolist() == [1]


class Doubled(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


class CalledTwice(nn.Sequential):
    def __call__(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().__call__(input)


def with_a_forward_of_its_own() -> nn.Linear:
    layer = nn.Linear(2, 2)
    layer.forward = lambda input: input.tanh()
    return layer


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (CalledTwice(nn.Linear(2, 2)), "CalledTwice"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), "'1' has no shape yet"),
        (nn.Sequential(nn.Linear(2, 2, device="meta")), "on the meta device"),
        (nn.Sequential(with_a_forward_of_its_own()), "'0' is a Linear"),
        (models.build("s-conv", image=(3, 8, 8), alpha=1), "'conv1' is a Conv2d"),
        (models.build("resnet18", image=(3, 8, 8), alpha=1), "'stem' is a Conv2d"),
        (nn.Sequential(nn.Linear(2, 2), nn.Tanh()), "'1' is a Tanh"),
        (nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.GELU())), r"'0\.1' is a GELU"),
        (nn.Sequential(Doubled(2, 2)), "Doubled"),
        (nn.Sequential(), "no layers"),
        (nn.Sequential(nn.Linear(2, 0)), "no outputs"),
        (nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), "in front of all layers"),
        (nn.Sequential(nn.Linear(2, 3), nn.Linear(2, 2)), "takes 2 features"),
        (nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(2)), "normalises 2 features"),
        (nn.Sequential(nn.Linear(2, 3), nn.BatchNorm2d(3)), "normalises 3 features"),
        (
            nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, track_running_stats=False)),
            "running statistics",
        ),
        (nn.Sequential(nn.Flatten(2), nn.Linear(2, 3)), "flattens"),
        (
            nn.Sequential(LocallyConnected2d(1, 1, 2, image_size=3), nn.Linear(2, 3)),
            "put a Flatten",
        ),
    ],
)
def test_other_models_are_refused_in_one_line(model, message):
    with pytest.raises(InvalidArgument, match=message) as error:
        compact(model)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(network, value):
    model = network()
    with torch.no_grad():
        model.fc1.weight[0, 0] = value
    with pytest.raises(InvalidArgument, match=r"'fc1' has weights that are not finite"):
        compact(model)
    model = network()
    model.fc1_norm.running_var[0] = -value
    with pytest.raises(InvalidArgument, match="'fc1"):
        compact(model)


def test_weights_beyond_float32_are_refused():
    model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1, eps=0)).eval()
    with torch.no_grad():
        model[0].weight.fill_(1e38)
        model[1].running_var.fill_(1e-12)
    with pytest.raises(InvalidArgument, match="range of float32"):
        compact(model)


def test_hooks_are_refused(network):
    model = network()
    model.fc1.register_forward_hook(lambda module, inputs, output: 2 * output)
    with pytest.raises(InvalidArgument, match="'fc1' has forward hooks"):
        compact(model)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.5] * 3, None, "both or neither"),
        ([0.5], [0.2], "each of the 3 channels"),
        ([0.5] * 3, [0.2, 0.2, 0.0], "positive"),
        ([0.5, 0.5, float("nan")], [0.2] * 3, "finite"),
    ],
)
def test_mean_and_std_that_cannot_be(network, mean, std, message):
    with pytest.raises(InvalidArgument, match=message):
        compact(network(), mean=mean, std=std)


def test_channels_of_images_that_the_model_does_not_tell():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    predictor = Predictor(compact(model, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3)))
    pixels = torch.randint(0, 256, (7, 3, 2, 2), dtype=torch.uint8)
    mean, std = (torch.tensor(t).view(3, 1, 1) for t in ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)))
    with torch.no_grad():
        expected = model((pixels / 255 - mean) / std)
    torch.testing.assert_close(predictor(pixels), expected)
    with pytest.raises(InvalidArgument, match=r"5 and 5 numbers: .* which 12 features"):
        compact(model, mean=[0.5] * 5, std=[0.2] * 5)


@pytest.mark.parametrize("name", ["s-fc", "3-fc", "d-fc"])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_model_under_the_sparse_engine_is_what_it_is_without(network, name, compressed):
    model = network(name)
    plain = compact(copy.deepcopy(model))
    optimizer = BetaLasso(param_groups(model, lam=1e-4), lr=0.1)
    engine = sparsify(model, optimizer, mode="sparse")
    assert engine.layers
    for layer in engine.layers.values():
        layer.compress() if compressed else layer.decompress()
    taken = compact(model)
    assert len(taken.layers) == len(plain.layers)
    for ours, its in zip(taken.layers, plain.layers, strict=True):
        np.testing.assert_array_equal(ours.matrix.to_dense(), its.matrix.to_dense())
        np.testing.assert_array_equal(ours.bias, its.bias)
        assert ours.relu == its.relu
    assert all(layer.compressed == compressed for layer in engine.layers.values())


def test_a_model_of_fixed_connections_is_what_its_dense_weights_are(network):
    model = network("s-fc")
    weight = model.get_parameter("conv1.weight")
    with torch.no_grad():
        weight[torch.rand(weight.shape) < 0.8] = 0
    plain = compact(copy.deepcopy(model))
    fix_connections(model, {"conv1.weight": weight.detach() != 0})
    taken = compact(model)
    for ours, its in zip(taken.layers, plain.layers, strict=True):
        np.testing.assert_array_equal(ours.matrix.to_dense(), its.matrix.to_dense())
        np.testing.assert_array_equal(ours.bias, its.bias)


def test_a_module_that_stands_twice_is_applied_twice():
    torch.manual_seed(0)
    relu, tied = nn.ReLU(), nn.Linear(8, 8)
    model = nn.Sequential(nn.Linear(6, 8), relu, tied, relu, tied, relu, nn.Linear(8, 3))
    inputs = torch.randn(9, 6)
    network = compact(model)
    assert [layer.relu for layer in network.layers] == [True, True, True, False]
    check_equal(network, model, inputs)
