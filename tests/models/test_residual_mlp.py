"""The residual MLP: what it computes, its counts, and what the rest of the package does with it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import scratchconv as sc
from scratchconv import analysis, models, training
from scratchconv.errors import InvalidArgument
from scratchconv.prediction import compact, export, export_onnx
from scratchconv.sparse import SparseLinear
from scratchconv.training.config import RunConfig
from scratchconv.training.start import SliceOver

IMAGE = (3, 6, 4)


def network(alpha: int = 2, **others) -> models.Network:
    return models.build("res-mlp", image=IMAGE, classes=5, alpha=alpha, seed=4, **others)


def randomised(model: nn.Module) -> nn.Module:
    """With statistics, scales and shifts that are not those of the start, in float64."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 2.0, generator=generator)
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_(generator=generator)
    return model.double()


def samples(count: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, *IMAGE, generator=generator, dtype=torch.float64)


def normalised(model: nn.Module, name: str, x: torch.Tensor) -> torch.Tensor:
    norm = model.get_submodule(name)
    scaled = (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    return scaled * norm.weight + norm.bias


def test_it_computes_the_formula_of_its_docstring():
    model, inputs = randomised(network()).eval(), samples()

    def product(name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ model.get_parameter(f"{name}.weight").T

    x = product("conv1", inputs.flatten(1))
    x = product("fc1", normalised(model, "norm1", x).relu())
    for block in ("block1.branch", "block2.branch"):
        hidden = product(f"{block}.fc1", normalised(model, f"{block}.norm1", x).relu())
        x = x + product(f"{block}.fc2", normalised(model, f"{block}.norm2", hidden).relu())
    expected = product("fc2", normalised(model, "fc1_norm", x).relu()) + model.fc2.bias
    torch.testing.assert_close(model(inputs), expected)


def test_with_silent_blocks_it_is_s_fc():
    """The same modules, weights of one seed, and outputs in training, dropout included."""
    plain = models.build("s-fc", image=IMAGE, classes=5, alpha=2, seed=4, dropout=0.3)
    residual = network(dropout=0.3)
    shared = residual.state_dict()
    assert all(torch.equal(shared[name], value) for name, value in plain.state_dict().items())
    for name in ("block1", "block2"):
        nn.init.zeros_(residual.get_parameter(f"{name}.branch.fc2.weight"))
    inputs, outputs = samples().float(), []
    for model in (plain, residual):
        torch.manual_seed(0)
        outputs.append(model(inputs))
    assert torch.equal(*outputs)


@pytest.mark.parametrize("layer", ["conv1", "fc1", "block1.branch.fc1", "block2.branch.fc2"])
def test_a_bias_would_be_cancelled(layer):
    model, inputs = network().double(), samples()
    before = model(inputs)
    shift = torch.linspace(-2, 2, model.get_submodule(layer).out_features, dtype=torch.float64)
    model.get_submodule(layer).register_forward_hook(lambda _, __, output: output + shift)
    torch.testing.assert_close(model(inputs), before)


@pytest.mark.parametrize(("side", "classes", "alpha"), [(32, 10, 8), (32, 100, 150), (16, 3, 1)])
def test_weights_by_the_polynomial(side, classes, alpha):
    s, c, a = side, classes, alpha
    count = models.parameter_count("res-mlp", (3, s, s), c, a)
    assert count == (6 * s**2 + 2304) * a**2 + (3 * s**4 // 4 + 24 * c) * a


@settings(deadline=None, max_examples=30)
@given(
    image=st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)),
    classes=st.integers(1, 12),
    alpha=st.integers(1, 5),
)
def test_any_image(image, classes, alpha):
    with torch.device("meta"):
        model = models.build("res-mlp", image=image, classes=classes, alpha=alpha)
        plain = models.build("s-fc", image=image, classes=classes, alpha=alpha)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert models.parameter_count("res-mlp", image, classes, alpha) == sum(
        layer.weight.numel() for layer in linear
    )
    assert model.first_layer.weight.shape == plain.first_layer.weight.shape
    assert [layer.out_features for layer in linear[1:-1]] == [24 * alpha] * 5


def test_sizes_and_what_is_refused():
    with torch.device("meta"):
        assert models.build("res-mlp", params=models.parameter_count("res-mlp", alpha=7)).alpha == 7
    dropouts = [name for name, m in network(dropout=0.2).named_modules() if "dropout" in name]
    assert dropouts == ["fc1_dropout", "fc2_dropout"]
    with pytest.raises(InvalidArgument, match="res-mlp fixes its kernels"):
        network(kernel_size=5)
    with pytest.raises(InvalidArgument, match="the smallest res-mlp"):
        models.build("res-mlp", params=10)


def test_lam_first_is_of_the_layer_that_stands_for_the_convolution():
    model = network()
    groups = sc.param_groups(model, lam=1.0, lam_first=2.0)
    names = {parameter: name for name, parameter in model.named_parameters()}
    first, others, free = ([names[p] for p in group["params"]] for group in groups)
    assert (groups[0]["lam"], groups[1]["lam"], groups[2]["lam"]) == (2.0, 1.0, 0.0)
    assert first == ["conv1.weight"]
    branches = [f"block{b}.branch.fc{i}.weight" for b in (1, 2) for i in (1, 2)]
    assert others == ["fc1.weight", *branches, "fc2.weight"]
    assert all("norm" in name or name == "fc2.bias" for name in free)


@pytest.mark.parametrize("mode", ["dense", "sparse"])
def test_the_engine_trains_it_as_torch_does(mode):
    torch.manual_seed(0)
    plain = network()
    model = copy.deepcopy(plain)
    optimizers = [
        sc.BetaLasso(sc.param_groups(m, lam=2e-3), lr=0.1, beta=20.0) for m in (model, plain)
    ]
    engine = sc.sparsify(model, optimizers[0], mode=mode)
    assert engine.left == {}
    # What is added up goes on unnormalised; what stays within a branch is computed with its layer.
    fused = {
        name: (x.batch_norm is not None, x.relu is not None) for name, x in engine.layers.items()
    }
    alone = ("fc1", "block1.branch.fc2", "block2.branch.fc2", "fc2")
    assert {name for name, both in fused.items() if both == (False, False)} == set(alone)
    assert {name for name, both in fused.items() if both == (True, True)} == {
        "conv1",
        "block1.branch.fc1",
        "block2.branch.fc1",
    }
    inputs, targets = samples(40).float(), torch.arange(40) % 5
    for _ in range(8):
        for m, optimizer in zip((model, plain), optimizers, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(m(inputs), targets).backward()
            optimizer.step()
    expected = plain.state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)
    assert all(0 < layer.density < 0.9 for layer in engine.layers.values())
    assert not any(isinstance(m, SparseLinear) for m in engine.to_dense().modules())


def test_its_sparsity_and_its_bits():
    model = network()
    with torch.no_grad():
        model.get_parameter("block2.branch.fc1.weight")[3:] = 0
    layers = {layer.name: layer for layer in analysis.sparsity(model)}
    assert sum(layer.size for layer in layers.values()) == models.parameter_count(
        "res-mlp", IMAGE, 5, 2
    )
    assert layers["block2.branch.fc1"].nonzero == 3 * 48
    assert layers["block2.branch.fc1"].dead_units == 45
    assert analysis.description_length(model).nonzero < sum(layer.size for layer in layers.values())


def test_what_skips_is_not_compacted_and_the_error_says_so(tmp_path: Path):
    model = network()
    for write in (
        compact,
        lambda m: export(m, tmp_path / "a"),
        lambda m: export_onnx(m, tmp_path / "b"),
    ):
        with pytest.raises(InvalidArgument, match=r"'block1' is a ResidualBlock.*chain of Linear"):
            write(model)
    assert list(tmp_path.iterdir()) == []


SMALL = {"model": "res-mlp", "alpha": 2, "data": "digits", "epochs": 2, "batch_size": 256}


def test_a_run_in_slices_is_the_run_in_one_go(tmp_path: Path):
    config = RunConfig(
        **SMALL, lam=1e-3, dropout=0.1, engine="sparse", precision="fp32", checkpoint_seconds=0.0
    )
    whole = training.train(config, tmp_path / "whole")
    while True:
        try:
            sliced = training.train(config, tmp_path / "slices", resume=True, seconds=1e-9)
            break
        except SliceOver:
            pass
    assert sliced.result["layers"] == whole.result["layers"]
    assert sliced.result["test_loss"] == whole.result["test_loss"]
    assert sum(layer["nonzero"] < layer["size"] for layer in whole.result["layers"]) > 3
    assert whole.result["locality"] is not None
    one, other = (training.load_model(tmp_path / kind).state_dict() for kind in ("whole", "slices"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("pruning", ["magnitude", "snip", "rigl"])
def test_rivals_keep_as_many_weights_as_asked(pruning: str, tmp_path: Path):
    config = RunConfig(**SMALL, method="sgd", pruning=pruning, density=0.2, precision="fp32")
    run = training.train(config, tmp_path / "run")
    size = sum(layer["size"] for layer in run.result["layers"])
    assert sum(layer["nonzero"] for layer in run.result["layers"]) <= round(0.2 * size)
    assert run.resolved["kept"] == round(0.2 * size)
