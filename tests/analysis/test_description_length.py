"""Networks described: what counts, each term, the bound that follows, and back from the bits."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from scratchconv import models
from scratchconv.analysis.description_length import (
    decode,
    description_length,
    encode,
    generalisation_bound,
)
from scratchconv.analysis.prefix_code import SCHEMES
from scratchconv.analysis.weight_vector import described_tensors, weight_vector
from scratchconv.errors import DataError, InvalidArgument
from scratchconv.nn import LocallyConnected2d


def pruned(model: nn.Module, density: float = 0.2) -> nn.Module:
    """The model with most weights zero, and with statistics that BatchNorm does not start from."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= torch.rand(parameter.shape, generator=generator) < density
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer += torch.rand(buffer.shape, generator=generator)
    return model.eval()


def image_for(name: str) -> tuple[int, int, int]:
    """A small image that the network takes."""
    family = name.partition("-")[0]
    return {"tree": (2, 1, 8), "zhang": (2, 16, 17)}.get(family, (2, 6, 7))


def small(name: str, seed: int = 0) -> models.Network:
    return models.build(name, image=image_for(name), classes=3, alpha=2, seed=seed)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", models.NAMES)
def test_every_network_comes_back_from_its_bits_as_it_was(name, scheme):
    model = pruned(small(name))
    code = encode(model, scheme=scheme)
    length = description_length(model, scheme=scheme)
    assert len(code) == length.bits == sum(term.bits for term in length.terms)
    fresh = small(name, seed=1)
    weights = decode(code, fresh, scheme=scheme)
    fresh.load_state_dict(weights, strict=False)
    images = torch.randn(4, *image_for(name), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fresh.eval()(images), model(images), rtol=0, atol=0)


@pytest.mark.parametrize("b", [9, 16, 21])
def test_fewer_bits_round_each_weight_and_nothing_else(b):
    model = pruned(small("s-fc"))
    weights = decode(encode(model, b=b), model, b=b)
    exact = decode(encode(model), model)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, exact[name], rtol=2.0 ** (8 - b), atol=0)
    if b == 16:
        for name, weight in weights.items():
            assert torch.equal(weight, exact[name].bfloat16().float())
    # What was rounded is described by the same bits again.
    rounded = copy.deepcopy(model)
    rounded.load_state_dict(weights, strict=False)
    assert encode(rounded, b=b) == encode(model, b=b)
    assert any(not torch.equal(weights[name], exact[name]) for name in exact)


def test_each_term_by_hand():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[0, 1] = 0.5
        model[0].weight[2, 3] = 0.5
        model[0].bias.fill_(-1.0)
    length = description_length(model, b=16)
    # weight 12, bias 3, scale 3 (ones), shift 3 (zeros), mean 3 (zeros), variance 3 (ones)
    assert (length.n, length.nonzero, length.k) == (27, 2 + 3 + 3 + 3, 3)
    assert [(t.name, t.size, t.nonzero) for t in length.tensors] == [
        ("0.weight", 12, 2),
        ("0.bias", 3, 3),
        ("1.weight", 3, 3),
        ("1.bias", 3, 0),
        ("1.running_mean", 3, 0),
        ("1.running_var", 3, 3),
    ]
    assert [(t.name, t.formula, t.bits) for t in length.terms] == [
        ("number of parameters", "log n", 5),
        ("values", "kb", 48),
        ("map: number of non-zeros", "log n", 5),
        ("map: number of parameters", "log n", 5),
        ("map: positions", "‖w‖₀ log n", 11 * 5),
        ("map: sharing", "‖w‖₀ log k", 11 * 2),
    ]
    assert length.map_bits == 5 + 5 + 55 + 22
    log_n = math.log2(27)
    assert length.formula_bits == pytest.approx(
        3 * 16 + 3 * log_n + 11 * (log_n + math.log2(3)), rel=1e-12
    )
    assert [t.bits for t in description_length(model, b=16, scheme="sparse").terms] == [
        *(5, 55, 11 * 16)
    ]
    assert description_length(model, b=16, scheme="dense").bits == 27 * 16


def test_sharing_pays_where_values_are_few_and_costs_where_they_are_not():
    layer = nn.Linear(50, 40, bias=False)
    with torch.no_grad():
        layer.weight *= torch.rand(40, 50, generator=torch.Generator().manual_seed(0)) < 0.1
    without = description_length(layer, scheme="sparse").bits
    assert description_length(layer).bits > without
    with torch.no_grad():
        layer.weight.sign_()
    assert description_length(layer, scheme="sparse").bits == without
    assert description_length(layer).bits < without / 3


def test_weights_only_counts_what_the_paper_counts():
    for name in models.NAMES:
        model = small(name)
        length = description_length(model, weights_only=True)
        assert length.n == models.parameter_count(name, image_for(name), classes=3, alpha=2)
        assert all(tensor.name.endswith("weight") for tensor in length.tensors)
    code = encode(model, weights_only=True, scheme="sparse")
    weights = decode(code, model, weights_only=True, scheme="sparse")
    assert set(weights) == {tensor.name for tensor in length.tensors}


def test_weights_of_a_local_layer_that_see_only_padding_are_not_described():
    layer = LocallyConnected2d(1, 1, 3, image_size=3, padding=1, bias=False)
    nn.init.ones_(layer.weight)
    length = description_length(nn.Sequential(layer))
    assert length.n == 81
    assert length.nonzero == int(layer.support().sum()) == 49
    assert description_length(layer).nonzero == 49
    image = torch.randn(2, 1, 3, 3)
    expected = layer(image)
    layer.load_state_dict(decode(encode(layer), layer))
    torch.testing.assert_close(layer(image), expected, rtol=0, atol=0)
    assert bool((layer.weight >= 0).all())
    assert bool(layer.weight.bool().logical_not().any())


def test_a_tensor_with_two_names_is_described_once():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    assert [tensor.name for tensor in described_tensors(model)] == ["0.weight"]
    expected = model[0].weight.detach().clone()
    weights = decode(encode(model), model)
    nn.init.zeros_(model[0].weight)
    model.load_state_dict(weights, strict=False)
    assert torch.equal(model[1].weight, expected)


def test_negative_zero_and_what_rounds_to_zero_are_zero():
    layer = nn.Linear(4, 1, bias=False)
    smallest = 2.0**-149
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[-0.0, 0.0, smallest, 1.0]]))
    assert description_length(layer, b=32).nonzero == 2
    assert description_length(layer, b=16).nonzero == 1
    (weight,) = decode(encode(layer, b=32), layer, b=32).values()
    assert weight.tolist() == [[0.0, 0.0, smallest, 1.0]]
    assert not torch.signbit(weight).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_come_back_exactly_where_float32_holds_them(dtype):
    layer = nn.Linear(7, 5, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(layer.weight.float())
        layer.bias.copy_(layer.bias.float())
    weights = decode(encode(layer), layer)
    assert torch.equal(weights["weight"].to(dtype), layer.weight)
    assert torch.equal(weights["bias"].to(dtype), layer.bias)


def test_an_empty_network_and_one_of_zeros():
    assert description_length(nn.ReLU(), scheme="dense").bits == 0
    assert decode(encode(nn.ReLU()), nn.ReLU()) == {}
    layer = nn.Linear(5, 3)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    assert description_length(layer).bits == 3 * 5  # three counts of 0…18
    assert not any(weight.any() for weight in decode(encode(layer), layer).values())
    empty = nn.Sequential(nn.Linear(1, 3), nn.Linear(3, 2))
    empty[0].weight = nn.Parameter(torch.empty(3, 0))
    weights = decode(encode(empty), empty)
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == {
        **{"0.weight": (3, 0), "0.bias": (3,)},
        **{"1.weight": (2, 3), "1.bias": (2,)},
    }
    assert torch.equal(weights["1.weight"], empty[1].weight)


def test_decoding_needs_only_the_architecture():
    model = pruned(small("s-local"))
    with torch.device("meta"):
        shapes = small("s-local")
    weights = decode(encode(model).data, shapes)
    for name, weight in decode(encode(model), model).items():
        assert torch.equal(weights[name], weight)
    with pytest.raises(DataError):
        decode(encode(model), small("s-fc"))
    with pytest.raises(InvalidArgument, match="meta device"):
        encode(shapes)


def test_layers_larger_than_a_chunk_keep_their_positions(monkeypatch):
    model = pruned(small("s-fc"))
    whole = weight_vector(model, b=16)
    monkeypatch.setattr("scratchconv.analysis.weight_vector._CHUNK", 37)
    pieces = weight_vector(model, b=16)
    np.testing.assert_array_equal(pieces.positions, whole.positions)
    np.testing.assert_array_equal(pieces.patterns, whole.patterns)


def test_what_cannot_be_described_says_why():
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.bias[0] = math.nan
    with pytest.raises(InvalidArgument, match=r"'bias' has weights that are NaN"):
        encode(layer)
    with torch.no_grad():
        layer.bias[0] = torch.finfo(torch.float32).max
    assert encode(layer, b=32)
    with pytest.raises(InvalidArgument, match="'bias' has weights too large for 16 bits"):
        encode(layer, b=16)
    with pytest.raises(InvalidArgument, match=r"complex64"):
        description_length(nn.Linear(2, 2, dtype=torch.complex64))
    module = nn.Linear(2, 2)
    module.register_buffer("order", torch.tensor([1, 0]))
    with pytest.raises(InvalidArgument, match=r"'order' is torch.int64"):
        description_length(module)
    with pytest.raises(InvalidArgument, match="run the model on a sample"):
        description_length(nn.LazyLinear(3))
    masked = nn.Linear(3, 2)
    prune.l1_unstructured(masked, "weight", amount=4)
    with pytest.raises(InvalidArgument, match=r"call prune.remove on its layers first"):
        description_length(nn.Sequential(masked))
    with pytest.raises(InvalidArgument, match="b is 33"):
        description_length(layer, b=33)
    with pytest.raises(InvalidArgument, match="shard"):
        description_length(nn.Linear(2, 2), scheme="shard")


def a_length(scheme: str):
    layer = nn.Linear(30, 20)
    with torch.no_grad():
        layer.weight *= torch.rand(20, 30, generator=torch.Generator().manual_seed(0)) < 0.05
    return description_length(layer, b=16, scheme=scheme)


@pytest.mark.parametrize("scheme", ["dense", "sparse"])
def test_equation_1(scheme):
    length = a_length(scheme)
    bound = generalisation_bound(length, samples=1000, training_error=0.125, delta=0.1)
    assert bound.equation == 1
    assert bound.description_bits == length.bits
    assert bound.gap == pytest.approx(math.sqrt((length.bits + math.log(20)) / 2000))
    assert bound.bound == 0.125 + bound.gap
    assert bound.sharp_gap == pytest.approx(
        math.sqrt((length.bits * math.log(2) + math.log(20)) / 2000)
    )


def test_equation_2():
    length = a_length("shared")
    bound = generalisation_bound(length, samples=1000, training_error=0.0, delta=0.1)
    d_g = length.bits - 10 - length.k * 16  # n = 620 takes 10 bits
    assert bound.equation == 2
    assert bound.gap == pytest.approx(
        math.sqrt((length.k * 16 + d_g + math.log(2 * 620 / 0.1)) / 2000)
    )
    assert bound.sharp_gap < bound.gap


def test_a_choice_of_architecture_is_paid_for():
    length = a_length("sparse")
    of_one, of_nine = (
        generalisation_bound(length, samples=100, training_error=0, architectures=count)
        for count in (1, 9)
    )
    assert of_nine.description_bits == of_one.description_bits + 4
    assert of_nine.gap > of_one.gap
    assert of_nine.sharp_gap > of_one.sharp_gap


def test_a_bound_of_one_or_more_says_nothing():
    length = a_length("sparse")
    assert generalisation_bound(length, samples=100, training_error=0).vacuous
    between = generalisation_bound(length, samples=length.bits // 2, training_error=0)
    assert between.sharp_bound < 1 < between.bound
    assert not between.vacuous
    assert not generalisation_bound(length, samples=10**6, training_error=0.5).vacuous
    assert generalisation_bound(length, samples=10**6, training_error=1.0).vacuous


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(("samples", 0), ("samples", 10.0), ("training_error", -0.1), ("training_error", 12.5)),
        *(("training_error", math.nan), ("delta", 0), ("delta", 1), ("architectures", 0)),
    ],
)
def test_arguments_of_the_bound_out_of_range_are_refused(argument, value):
    arguments = {"samples": 10, "training_error": 0.1, "delta": 0.05, argument: value}
    with pytest.raises(InvalidArgument, match=argument):
        generalisation_bound(a_length("sparse"), **arguments)
