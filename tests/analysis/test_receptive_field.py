"""Receptive fields are the layer itself, and units to draw are chosen honestly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from scratchconv.analysis import receptive_fields, select_filters
from scratchconv.errors import InvalidArgument
from scratchconv.nn import LocallyConnected2d


def assert_fields_are_the_layer(layer, image):
    """The dense view, applied as a matrix, gives the layer's own output."""
    inputs = torch.randn(3, *image, dtype=torch.float64)
    reads_flat = isinstance(layer, nn.Linear)
    expected = layer(inputs.flatten(1) if reads_flat else inputs).flatten(1)
    fields = receptive_fields(layer, image)
    assert fields.shape == (expected.shape[1], *image)
    assert not fields.requires_grad
    torch.testing.assert_close(inputs.flatten(1) @ fields.flatten(1).T, expected)
    picked = torch.arange(expected.shape[1]).flip(0)[::2]
    assert torch.equal(receptive_fields(layer, image, picked), fields[picked])
    assert torch.equal(receptive_fields(layer, image, [0]), fields[:1])


def test_linear():
    layer = nn.Linear(2 * 3 * 5, 7, bias=False, dtype=torch.float64)
    assert_fields_are_the_layer(layer, (2, 3, 5))


def test_linear_result_is_new_memory():
    layer = nn.Linear(12, 2)
    receptive_fields(layer, (3, 2, 2)).zero_()
    assert layer.weight.any()


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(["same", "valid", (0, 1), (2, 0), (3, 3)]),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from([1, 2]),
)
def test_convolution(height, width, kernel, stride, padding, dilation, groups):
    stride = 1 if padding == "same" else stride
    layer = nn.Conv2d(
        4, 6, kernel, stride, padding, dilation, groups, bias=False, dtype=torch.float64
    )
    image = (4, height, width)
    try:
        layer(torch.zeros(1, *image, dtype=torch.float64))
    except RuntimeError:
        with pytest.raises(InvalidArgument, match="does not fit"):
            receptive_fields(layer, image)
        return
    assert_fields_are_the_layer(layer, image)


@settings(deadline=None, max_examples=25)
@given(
    height=st.integers(3, 8),
    width=st.integers(3, 8),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 4)),
)
def test_locally_connected(height, width, kernel, stride, padding):
    layer = LocallyConnected2d(
        2,
        3,
        kernel,
        image_size=(height, width),
        stride=stride,
        padding=padding,
        bias=False,
        dtype=torch.float64,
    )
    image = (2, height, width)
    assert_fields_are_the_layer(layer, image)
    assert torch.equal(receptive_fields(layer, image).flatten(1), layer.dense_weight())


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Linear(10, 2), "10 inputs"),
        (nn.Conv2d(1, 2, 3), "1 channels"),
        (nn.Conv2d(3, 2, 3, padding=1, padding_mode="circular"), "circular"),
        (LocallyConnected2d(3, 2, 3, image_size=6), r"\(3, 6, 6\)"),
        (nn.ReLU(), "ReLU"),
    ],
)
def test_refuses_what_it_cannot_show(layer, message):
    with pytest.raises(InvalidArgument, match=message):
        receptive_fields(layer, (3, 8, 8))


def test_refuses_a_unit_that_is_not_there():
    with pytest.raises(InvalidArgument, match=r"0…1"):
        receptive_fields(nn.Linear(12, 2), (3, 2, 2), [2])


def test_units_may_be_a_mask_of_them_all():
    layer = nn.Linear(12, 3)
    chosen = torch.tensor([True, False, True])
    assert torch.equal(
        receptive_fields(layer, (3, 2, 2), chosen), receptive_fields(layer, (3, 2, 2), [0, 2])
    )
    with pytest.raises(InvalidArgument, match="mask of 2: there are 3 units"):
        receptive_fields(layer, (3, 2, 2), [True, False])


def fields_with(*nonzeros):
    fields = torch.zeros(len(nonzeros), 40)
    for unit, number in enumerate(nonzeros):
        fields[unit, :number] = -1.0
    return fields.view(-1, 1, 5, 8)


def test_draws_only_units_with_enough_nonzeros():
    chosen = select_filters(fields_with(19, 20, 25, 0, 40, 30), 3, seed=1)
    assert len(chosen.units) == 3
    assert set(chosen.units.tolist()) <= {1, 2, 4, 5}
    assert chosen.units.tolist() == sorted(chosen.units.tolist())
    assert (chosen.qualified, chosen.filled, chosen.minimum_nonzeros) == (4, 0, 20)


def test_draw_is_random_by_seed_and_reproducible():
    fields = fields_with(*[30] * 50)
    draws = [tuple(select_filters(fields, 5, seed=seed).units.tolist()) for seed in range(20)]
    assert len(set(draws)) > 15
    assert draws[3] == tuple(select_filters(fields, 5, seed=3).units.tolist())


def test_fills_up_with_the_next_in_nonzeros_and_says_so():
    chosen = select_filters(fields_with(3, 0, 7, 22, 7, 1), 4)
    assert chosen.units.tolist() == [0, 2, 3, 4]
    assert (chosen.qualified, chosen.filled) == (1, 3)


def test_never_chooses_dead_units():
    chosen = select_filters(fields_with(0, 2, 0), 3)
    assert chosen.units.tolist() == [1]
    assert len(select_filters(fields_with(0, 0), 3).units) == 0


def test_refuses_a_count_of_zero():
    with pytest.raises(InvalidArgument, match="count is 0"):
        select_filters(fields_with(1), 0)
