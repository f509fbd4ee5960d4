"""Networks built by name: their layers, their units, their weights, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from scratchconv import models
from scratchconv.errors import InvalidArgument
from scratchconv.models import memory
from scratchconv.nn import LocallyConnected2d, UnitBatchNorm2d
from scratchconv.report.record import Record

WEIGHTED = (nn.Linear, nn.Conv2d, LocallyConnected2d)
# Those of Neyshabur 2020, and res-mlp, take images of any size and have BatchNorm.
OF_THE_PAPER = [name for name in models.NAMES if not name.startswith(("tree-", "zhang-"))]


def test_names() -> None:
    expected = (
        "s-conv s-local s-fc d-conv d-local d-fc 3-fc res-mlp resnet18 "
        "tree-weight tree-local tree-oracle tree-fc zhang-conv zhang-local zhang-weight zhang-fc "
        "zhang-weight-even"
    )
    assert " ".join(models.NAMES) == expected


def test_the_report_knows_what_each_network_gives_its_first_layer() -> None:
    kinds: dict[str, list[str]] = {"full": [], "local": [], "convolution": []}
    for name in models.NAMES:
        record = Record(Path("run"), {"model": name}, {}, (), None, "label")
        kinds[record.connectivity].append(name)
    assert kinds == {
        "full": [
            *("s-fc", "d-fc", "3-fc", "res-mlp", "tree-weight", "tree-fc"),
            *("zhang-weight", "zhang-fc", "zhang-weight-even"),
        ],
        "local": ["s-local", "d-local", "tree-local", "zhang-local"],
        "convolution": ["s-conv", "d-conv", "resnet18", "tree-oracle", "zhang-conv"],
    }


@pytest.mark.parametrize("name", OF_THE_PAPER)
@pytest.mark.parametrize("image", [(1, 8, 8), (3, 9, 5), (2, 1, 1)])
def test_every_network_trains_on_any_image(name: str, image: tuple[int, int, int]) -> None:
    network = models.build(name, image=image, classes=4, alpha=2, dropout=0.2, seed=0)
    assert (network.name, network.alpha) == (name, 2)
    assert (network.image, network.classes) == (image, 4)
    output = network(torch.randn(6, *image))
    assert output.shape == (6, 4)
    output.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert copy.deepcopy(network).eval()(torch.randn(2, *image)).shape == (2, 4)


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_first_layer_and_convolution_layers(name: str) -> None:
    network = models.build(name, alpha=1, image=(1, 8, 8))
    weighted = {n: m for n, m in network.named_modules() if isinstance(m, WEIGHTED)}
    assert network.first_layer is next(iter(weighted.values()))
    if name == "3-fc":
        assert network.convolution_layers == ()
    else:
        head_and_branches = {n for n in weighted if n.split(".")[-1].startswith("fc")}
        assert set(network.convolution_layers) == set(weighted) - head_and_branches
        kinds = {"local": LocallyConnected2d, "fc": nn.Linear, "mlp": nn.Linear}
        kind = kinds.get(name.split("-")[-1], nn.Conv2d)
        assert all(isinstance(weighted[n], kind) for n in network.convolution_layers)


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_every_layer_but_the_last_has_batch_norm_instead_of_a_bias(name: str) -> None:
    network = models.build(name, alpha=1, image=(1, 8, 8))
    weighted = [m for m in network.modules() if isinstance(m, WEIGHTED)]
    norms = [m for m in network.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    assert len(norms) == len(weighted) - 1
    assert [m.bias is not None for m in weighted] == [False] * len(norms) + [True]


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("s-conv", [(3, 32), (8 * 256, 192), (192, 10)]),
        ("s-local", [(3, 8), (8 * 256, 192), (192, 10)]),
        ("s-fc", [(3072, 8 * 256), (8 * 256, 192), (192, 10)]),
    ],
)
def test_s_family_units(name: str, widths: list[tuple[int, int]]) -> None:
    with torch.device("meta"):
        network = models.build(name, alpha=8)
    dense = [m for m in network.modules() if isinstance(m, nn.Linear)]
    expected = widths if name == "s-fc" else widths[1:]
    assert [(m.in_features, m.out_features) for m in dense] == expected
    if name != "s-fc":
        first = network.first_layer
        assert isinstance(first, (nn.Conv2d, LocallyConnected2d))
        assert (first.kernel_size, first.stride, first.padding) == ((9, 9), (2, 2), (4, 4))


def test_d_conv_layers() -> None:
    with torch.device("meta"):
        network = models.build("d-conv", alpha=5)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    widths_and_strides = [(m.out_channels // 5, m.stride[0]) for m in convolutions]
    assert widths_and_strides == [
        (1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2)
    ]  # fmt: skip
    assert all((m.kernel_size, m.padding) == ((3, 3), (1, 1)) for m in convolutions)
    assert network.get_parameter("fc1.weight").shape == (64 * 5, 16 * 5 * 2 * 2)


def test_units_stand_in_the_order_of_the_convolution_they_stand_for() -> None:
    """The three kinds are nested: local with equal filters is conv, dense of local is local."""
    image = (2, 9, 7)
    conv, local, dense = (
        models.build(f"d-{kind}", image=image, classes=3, alpha=1, seed=5).double().eval()
        for kind in ("conv", "local", "fc")
    )
    with torch.no_grad():
        for norm in (m for m in conv.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.weight.uniform_(0.5, 2)
            norm.bias.uniform_(-1, 1)
        for name in conv.convolution_layers:
            local_layer = local.get_submodule(name)
            assert isinstance(local_layer, LocallyConnected2d)
            filters = conv.get_parameter(f"{name}.weight")
            local_layer.weight.copy_(filters.expand_as(local_layer.weight))
            dense.get_parameter(f"{name}.weight").copy_(local_layer.dense_weight())
            shared = conv.get_submodule(name.replace("conv", "norm"))
            own = local.get_submodule(name.replace("conv", "norm"))
            assert isinstance(shared, nn.BatchNorm2d)
            assert isinstance(own, UnitBatchNorm2d)
            area = own.map_shape[1] * own.map_shape[2]
            own.weight.copy_(shared.weight.repeat_interleave(area))
            own.bias.copy_(shared.bias.repeat_interleave(area))
    inputs = torch.randn(4, *image, dtype=torch.float64)
    rest = {name: value for name, value in conv.state_dict().items() if name.startswith("fc")}
    local.load_state_dict(rest, strict=False)
    dense.load_state_dict({**local.state_dict(), **_weights(dense)}, strict=True)
    torch.testing.assert_close(local(inputs), conv(inputs))
    torch.testing.assert_close(dense(inputs), local(inputs))


def _weights(dense: models.Network) -> dict[str, torch.Tensor]:
    return {f"{n}.weight": dense.get_parameter(f"{n}.weight") for n in dense.convolution_layers}


def test_a_seed_fixes_the_weights_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first = models.build("s-local", alpha=1, image=(1, 8, 8), seed=7)
    assert torch.equal(torch.rand(4), expected)
    second = models.build("s-local", alpha=1, image=(1, 8, 8), seed=7)
    other = models.build("s-local", alpha=1, image=(1, 8, 8), seed=8)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert not torch.equal(first.get_parameter("conv1.weight"), other.get_parameter("conv1.weight"))


def test_without_a_seed_the_global_generator_decides() -> None:
    torch.manual_seed(3)
    first = models.build("3-fc", alpha=4, image=(1, 8, 8)).get_parameter("fc0.weight")
    second = models.build("3-fc", alpha=4, image=(1, 8, 8)).get_parameter("fc0.weight")
    torch.manual_seed(3)
    again = models.build("3-fc", alpha=4, image=(1, 8, 8)).get_parameter("fc0.weight")
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("s-fc", ["fc1_dropout", "fc2_dropout"]),
        ("d-local", ["fc1_dropout", "fc2_dropout"]),
        ("3-fc", ["fc1_dropout", "fc2_dropout"]),
        ("resnet18", ["fc_dropout"]),
    ],
)
def test_dropout_on_the_inputs_of_the_last_dense_layers(name: str, rates: list[str]) -> None:
    network = models.build(name, image=(1, 8, 8), alpha=1, dropout=0.3)
    dropouts = {n: m.p for n, m in network.named_modules() if isinstance(m, nn.Dropout)}
    assert dropouts == dict.fromkeys(rates, 0.3)
    order = [n for n, _ in network.named_children()]
    for rate in rates:
        assert order[order.index(rate) + 1] == rate.removesuffix("_dropout")
    plain = models.build(name, image=(1, 8, 8), alpha=1)
    assert not any(isinstance(m, nn.Dropout) for m in plain.modules())
    assert list(plain.state_dict()) == list(network.state_dict())


def test_resnet18_kernel_size_replaces_every_three() -> None:
    network = models.build("resnet18", image=(3, 8, 8), alpha=1, kernel_size=7)
    sizes = [m.kernel_size for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert sizes.count((7, 7)) == 17
    assert sizes.count((1, 1)) == 3
    stem = network.first_layer
    assert isinstance(stem, nn.Conv2d)
    assert (stem.stride, stem.padding) == ((1, 1), (3, 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give exactly one"),
        ({"alpha": 2, "params": 1e6}, "alpha is 2 and params is 1000000.0: give exactly one"),
        ({"alpha": 0}, "alpha is 0: it must be an integer of at least 1"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"alpha": True}, "alpha is True"),
        ({"params": 10}, r"params is 10: the smallest s-fc .*has 792,816 weights"),
        ({"params": float("nan")}, "params is nan"),
        ({"alpha": 1, "image": (3, 32)}, r"image is \(3, 32\): give"),
        ({"alpha": 1, "image": (3, 0, 32)}, "image height is 0"),
        ({"alpha": 1, "classes": 0}, "classes is 0"),
        ({"alpha": 1, "dropout": 1.0}, "dropout is 1.0"),
        ({"alpha": 1, "dropout": -0.1}, "dropout is -0.1"),
        ({"alpha": 1, "kernel_size": 5}, "s-fc fixes its kernels"),
    ],
)
def test_arguments_that_cannot_be_used(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as caught:
        models.build("s-fc", **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_kernel_reaches_over_the_image_from_every_pixel_and_no_farther() -> None:
    assert models.parameter_count("resnet18", image=(1, 8, 8), kernel_size=15)
    assert models.parameter_count("resnet18", image=(1, 1, 8), kernel_size=15)
    assert models.parameter_count("resnet18", image=(1, 1, 1), kernel_size=3)
    with pytest.raises(InvalidArgument, match=r"kernel_size is 17: .* 8×4 .* at most 15"):
        models.build("resnet18", image=(1, 8, 4), alpha=1, kernel_size=17)


def test_an_even_kernel_size_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="kernel_size is 4: it must be odd"):
        models.build("resnet18", alpha=1, kernel_size=4)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match=r"resnet18.*Did you mean 's-conv'"):
        models.build("s-conf", alpha=1)


def test_an_input_of_another_shape_is_refused() -> None:
    network = models.build("s-fc", image=(1, 8, 8), alpha=1)
    with pytest.raises(InvalidArgument, match=r"this s-fc was built for \(n, 1, 8, 8\)"):
        network(torch.zeros(2, 64))


def test_a_network_larger_than_the_memory_is_refused_before_it_is_made() -> None:
    with pytest.raises(InvalidArgument, match=r"needs 229174\.9 GiB .* are available") as caught:
        models.build("s-fc", alpha=100_000)
    assert "\n" not in str(caught.value)


def test_memory_is_the_smaller_of_what_is_free_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    information, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_MEMORY_INFORMATION", information)
    monkeypatch.setattr(memory, "_CONTAINER_LIMIT", limit)
    information.write_text("MemTotal: 900 kB\nMemAvailable:     800 kB\n")
    assert memory.available_bytes() == 800 * 1024
    limit.write_text("max\n")
    assert memory.available_bytes() == 800 * 1024
    limit.write_text("4096\n")
    assert memory.available_bytes() == 4096
    memory.check("s-fc", 1, weights=1024)
    with pytest.raises(InvalidArgument, match="choose a smaller alpha"):
        memory.check("s-fc", 1, weights=1025)
