"""Spread and locality against hand-computed values, their formulas and their null."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.analysis import locality, median_spread, spread
from scratchconv.errors import InvalidArgument


def local_filters(units, image, side, nonzeros, seed):
    """`nonzeros` random weights in a random `side` × `side` box of each unit."""
    rng = np.random.default_rng(seed)
    height, width = image[1:]
    weight = np.zeros((units, *image), dtype=np.float32)
    for unit in weight:
        y, x = rng.integers(max(1, height - side + 1)), rng.integers(max(1, width - side + 1))
        box = unit[:, y : y + side, x : x + side]
        at = rng.choice(box.size, nonzeros, replace=False)
        box[np.unravel_index(at, box.shape)] = rng.normal(size=nonzeros)
    return torch.from_numpy(weight)


def random_filters(units, image, nonzeros, seed):
    return local_filters(units, image, max(image[1:]), nonzeros, seed)


# spread


@pytest.mark.parametrize("image", [(3, 32, 32), (1, 1, 17), (2, 5, 9), (4, 7, 1)])
def test_uniform_filter_has_spread_one(image):
    assert spread(torch.full((2, math.prod(image)), -0.3), image).tolist() == pytest.approx(
        [1, 1], abs=1e-12
    )


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 9), width=st.integers(2, 9), data=st.data())
def test_single_pixel_has_spread_zero_in_all_its_channels(height, width, data):
    weight = torch.zeros(1, 3, height, width)
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    weight[0, :, y, x] = torch.tensor([0.1, -0.7, 0.0])
    assert spread(weight, (3, height, width)).item() == pytest.approx(0, abs=1e-7)


def test_box_matches_the_hand_computed_value():
    weight = torch.zeros(1, 3, 32, 32)
    weight[:, :, 4:13, 20:29] = 2.0
    # Variance of 0…n−1 is (n² − 1)/12, in x and in y: √(80/1023).
    assert spread(weight, (3, 32, 32)).item() == pytest.approx(math.sqrt(80 / 1023), rel=1e-12)


def test_opposite_corners_are_wider_than_uniform():
    weight = torch.zeros(1, 1, 1, 11)
    weight[..., 0] = weight[..., 10] = 1.0
    assert spread(weight, (1, 1, 11)).item() == pytest.approx(math.sqrt(25 / 10))


@settings(deadline=None, max_examples=40)
@given(
    units=st.integers(1, 5),
    channels=st.integers(1, 3),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_spread_is_its_formula(units, channels, height, width, seed):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(units, channels, height, width))
    weight *= rng.random(weight.shape) < 0.5
    found = spread(weight, (channels, height, width))
    for unit, value in zip(weight, found.tolist(), strict=True):
        mass = np.abs(unit).sum(axis=0)
        if mass.sum() == 0 or height * width == 1:
            assert math.isnan(value)
            continue
        mass /= mass.sum()
        y, x = np.mgrid[:height, :width]
        variance = sum((mass * (c - (mass * c).sum()) ** 2).sum() for c in (y, x))
        assert value == pytest.approx(math.sqrt(variance / (y.var() + x.var())), abs=1e-7)


def test_dead_units_do_not_enter_the_median():
    weight = torch.zeros(4, 1, 1, 3)
    weight[1] = 1.0
    weight[3, 0, 0, 0] = 1.0
    assert spread(weight, (1, 1, 3)).isnan().tolist() == [True, False, True, False]
    assert median_spread(weight, (1, 1, 3)) == pytest.approx(0.5)
    assert math.isnan(median_spread(torch.zeros(2, 3), (1, 1, 3)))


def test_spread_of_few_random_weights_is_small_by_chance():
    weight = random_filters(400, (1, 16, 16), 3, seed=0).sign()
    found = locality(weight, (1, 16, 16))
    assert found.spread_by_chance == pytest.approx(math.sqrt(2 / 3 * 256 / 255))
    assert (spread(weight, (1, 16, 16)) ** 2).mean() == pytest.approx(2 / 3, abs=0.05)
    assert found.p_value > 0.05


# locality


def test_local_filters_are_found_with_two_weights_each():
    found = locality(local_filters(200, (3, 32, 32), 9, 2, seed=0), (3, 32, 32))
    assert found.spread < 0.3 < found.spread_by_chance
    assert found.z_score > 10
    assert found.p_value == 1 / 500
    assert found.ratio < 0.4
    assert found.average_filter > 0.6 * found.null_mean


def test_dense_local_filters_are_found():
    y, x = np.mgrid[:16, :16]
    centres = np.random.default_rng(1).integers(16, size=(40, 2))
    bumps = np.stack([np.exp(-((y - a) ** 2 + (x - b) ** 2) / 40) for a, b in centres])
    noise = np.random.default_rng(2).normal(size=bumps.shape)
    found = locality((bumps * noise)[:, None], (1, 16, 16))
    assert found.z_score > 10
    assert found.ratio < 0.9


def test_dense_random_filters_are_not_local():
    generator = torch.Generator().manual_seed(0)
    layers = [torch.randn(60, 3 * 10 * 12, generator=generator) for _ in range(40)]
    found = [locality(weight, (3, 10, 12), shuffles=39) for weight in layers]
    assert [one.spread for one in found] == pytest.approx([1] * 40, abs=0.02)
    assert [one.ratio for one in found] == pytest.approx([1] * 40, abs=0.02)
    assert np.mean([one.z_score for one in found]) == pytest.approx(0, abs=0.5)
    assert np.mean([one.p_value for one in found]) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("alike", [False, True])
def test_false_positives_are_as_rare_as_promised(alike):
    """At 5 %, over 300 layers: also if all units of a layer share their pixels."""
    image = (2, 8, 8)
    values, scores = [], []
    for seed in range(300):
        weight = random_filters(12, image, 4, seed)
        if alike:
            weight = weight[:1] * torch.linspace(1, 2, 12).view(-1, 1, 1, 1)
        found = locality(weight, image, shuffles=99, seed=seed)
        values.append(found.p_value)
        scores.append(found.z_score)
    assert 0.02 <= np.mean(np.array(values) <= 0.05) <= 0.09
    assert np.mean(scores) == pytest.approx(0, abs=0.2)
    assert np.std(scores) == pytest.approx(1, abs=0.15)


def test_a_shared_border_shows_in_the_average_filter():
    weight = torch.zeros(200, 1, 20, 20)
    weight[:, :, 5:-5, 5:-5] = torch.randn(200, 1, 10, 10, generator=torch.manual_seed(0))
    found = locality(weight, (1, 20, 20))
    assert found.ratio < 0.6
    assert found.average_filter == pytest.approx(found.statistic, rel=0.02)


@settings(deadline=None, max_examples=30)
@given(
    units=st.integers(1, 6),
    channels=st.integers(1, 3),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    density=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_any_shape_gives_plain_finite_numbers(units, channels, height, width, density, seed):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(units, channels * height * width))
    weight *= rng.random(weight.shape) < density
    image = (channels, height, width)
    found = locality(weight, image, shuffles=9)
    fields = dataclasses.asdict(found)
    assert json.loads(json.dumps(fields, allow_nan=False)) == fields
    assert found.units + found.dead_units == units
    assert 0 < found.p_value <= 1
    if found.statistic is not None:
        assert found.statistic > 0
        mass = np.abs(weight).reshape(units, channels, -1).sum(axis=1)
        y, x = np.divmod(np.arange(height * width), width)
        d = np.hypot(y[:, None] - y, x[:, None] - x)
        outer = mass[:, :, None] * mass[:, None, :] * (d > 0)
        seen = outer.sum(axis=(1, 2))
        expected = ((outer * d).sum(axis=(1, 2))[seen > 0] / seen[seen > 0]).mean()
        assert found.statistic == pytest.approx(expected)


@settings(deadline=None, max_examples=25)
@given(
    channels=st.integers(1, 3),
    height=st.integers(1, 6),
    width=st.integers(2, 6),
    seed=st.integers(0, 99),
)
def test_permutation_is_undone(channels, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, channels, height * width, generator=generator)
    weight *= torch.rand(5, channels, height * width, generator=generator) < 0.5
    order = torch.randperm(height * width, generator=generator)
    permuted = weight[:, :, order]  # input position k shows true pixel order[k]
    image = (channels, height, width)
    straight = locality(weight.flatten(1), image, shuffles=19)
    assert locality(permuted.flatten(1), image, permutation=order, shuffles=19) == straight
    assert locality(permuted.flatten(1), image, permutation=order.numpy(), shuffles=19) == straight
    torch.testing.assert_close(
        spread(permuted.flatten(1), image, order),
        spread(weight.flatten(1), image),
        rtol=0,
        atol=0,
        equal_nan=True,
    )


def test_local_filters_are_not_local_before_the_permutation_is_known():
    image = (1, 16, 16)
    order = torch.randperm(256, generator=torch.Generator().manual_seed(0))
    permuted = local_filters(100, image, 5, 3, seed=0).flatten(1)[:, order]
    assert locality(permuted, image).p_value > 0.01
    assert locality(permuted, image, permutation=order).p_value == 1 / 500


def test_scale_sign_and_units_order_do_not_matter():
    weight = local_filters(30, (2, 9, 9), 4, 5, seed=0).double()
    reference = locality(weight, (2, 9, 9))
    scales = torch.logspace(-30, 30, 30, base=2, dtype=torch.float64).view(-1, 1, 1, 1)
    assert locality(-weight * scales, (2, 9, 9)) == reference
    shuffled = locality(weight.flip(0), (2, 9, 9))
    assert shuffled.statistic == pytest.approx(reference.statistic)
    assert shuffled.z_score == pytest.approx(reference.z_score)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_shapes_and_numpy_agree(dtype):
    weight = local_filters(20, (2, 6, 7), 3, 4, seed=0).sign().to(dtype).requires_grad_()
    reference = locality(weight.detach().double().numpy(), (2, 6, 7))
    assert locality(weight, (2, 6, 7)) == reference
    assert locality(weight.flatten(1), (2, 6, 7)) == reference


def test_result_depends_on_the_seed_alone():
    weight = random_filters(10, (1, 8, 8), 4, seed=0)
    state = torch.get_rng_state()
    p_values = {seed: locality(weight, (1, 8, 8), seed=seed).p_value for seed in (0, 1, 2)}
    assert len(set(p_values.values())) > 1
    assert locality(weight, (1, 8, 8), seed=1).p_value == p_values[1]
    assert torch.equal(state, torch.get_rng_state())


def test_chunks_do_not_change_the_result(monkeypatch):
    weight = random_filters(23, (2, 8, 8), 40, seed=0)
    whole = locality(weight, (2, 8, 8))
    monkeypatch.setattr("scratchconv.analysis.mass._CHUNK", 2 * 64 * 5)
    pieces = locality(weight, (2, 8, 8))
    for name, value in dataclasses.asdict(whole).items():
        assert getattr(pieces, name) == pytest.approx(value), name


def test_ratio_does_not_grow_with_the_number_of_units():
    few = locality(local_filters(100, (1, 16, 16), 5, 3, seed=0), (1, 16, 16))
    many = locality(local_filters(1000, (1, 16, 16), 5, 3, seed=1), (1, 16, 16))
    assert many.ratio == pytest.approx(few.ratio, abs=0.05)


def test_large_sparse_images_use_every_pair():
    weight = local_filters(50, (1, 90, 70), 9, 3, seed=0)
    found = locality(weight, (1, 90, 70), shuffles=99)
    assert found.positions == 6300
    assert found.p_value == 0.01
    assert found.statistic < 9 * math.sqrt(2)
    order = torch.randperm(6300, generator=torch.Generator().manual_seed(0))
    assert locality(weight.flatten(1)[:, order], (1, 90, 70), shuffles=99).p_value > 0.01


def test_large_dense_images_use_some_positions_and_say_so():
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(48.0), indexing="ij")
    bumps = torch.stack([torch.exp(-((y - a) ** 2 + (x - a) ** 2) / 200) for a in range(0, 48, 4)])
    found = locality(bumps[:, None], (1, 48, 48), shuffles=99)
    assert found.positions == 1024
    assert found.p_value == 0.01
    noise = torch.randn(12, 2304, generator=torch.Generator().manual_seed(0))
    assert abs(locality(noise, (1, 48, 48), shuffles=99).z_score) < 3


def test_a_dead_layer_has_nothing_to_measure():
    found = locality(torch.zeros(4, 9), (1, 3, 3))
    assert (found.units, found.dead_units, found.p_value) == (0, 4, 1.0)
    assert found.spread is found.statistic is found.z_score is found.ratio is None
    assert found.null_mean is found.null_std is found.average_filter is None


def test_single_pixel_units_have_a_spread_but_no_distance():
    found = locality(torch.eye(9), (1, 3, 3))
    assert (found.units, found.single_pixel_units, found.spread) == (9, 9, 0.0)
    assert found.statistic is None
    assert found.p_value == 1.0


def test_uniform_filters_are_not_evidence():
    found = locality(torch.ones(5, 49), (1, 7, 7))
    assert (found.null_std, found.z_score, found.p_value) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": torch.ones(2, 3, 3, 3)}, r"\(2, 3, 3, 3\).*\(units, 48\)"),
        ({"weight": torch.ones(2, 49)}, r"\(2, 49\)"),
        ({"weight": torch.ones(2, 48, dtype=torch.int64)}, "int64"),
        ({"weight": torch.full((2, 48), math.nan)}, "NaN"),
        ({"image": (48,)}, r"\(48,\)"),
        ({"image": (0, 4, 4)}, "at least 1"),
        ({"permutation": torch.arange(15)}, r"\(15,\).*16 pixel positions"),
        ({"permutation": torch.zeros(16, dtype=torch.int64)}, "each of 0…15 once"),
        ({"shuffles": 0}, "shuffles is 0"),
    ],
)
def test_errors_name_the_value(arguments, message):
    call = {"weight": torch.ones(2, 48), "image": (3, 4, 4)} | arguments
    with pytest.raises(InvalidArgument, match=message):
        locality(call.pop("weight"), call.pop("image"), **call)
