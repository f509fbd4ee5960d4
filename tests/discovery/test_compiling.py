"""Compiled networks are the layers they claim to be, begin with what was learned, and pay."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from scratchconv.discovery import comparison
from scratchconv.discovery.boosted_trees import BoostedTrees, Extent, extent_within
from scratchconv.discovery.comparison import compare_networks, score
from scratchconv.discovery.compiling import compile_network, weights_of
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.neighbourhoods import (
    arranged_columns,
    geometry_bits,
    neighbourhoods,
)
from scratchconv.discovery.network_training import (
    Course,
    multiply_adds,
    steps_of,
    train_network,
    work_of_a_row,
)
from scratchconv.discovery.networks import Masked, Structure
from scratchconv.discovery.sharing import standard_samples
from scratchconv.errors import Collapse, InvalidArgument


def shuffled(shape, channels=1, seed=0, kind=None, missing=0):
    """A line, ring or grid whose columns are in any order, the last `missing` of them left out."""
    slots = int(np.prod(shape)) * channels
    order = np.random.RandomState(seed).permutation(slots)[: slots - missing]
    places = np.stack(np.unravel_index(np.arange(slots // channels), shape), axis=1).astype(float)
    kind = kind or ("grid" if len(shape) == 2 else "line")
    position, channel = order // channels, order % channels
    return Geometry(kind, len(shape), places, position, channel, tuple(shape))


def image_of(rows, geometry):
    """The rows as an array (n, channels, *shape), one value at a time."""
    shape = (int(geometry.channel_of.max()) + 1, *geometry.shape)
    image = torch.zeros(len(rows), *shape)
    for column, (position, channel) in enumerate(
        zip(geometry.position_of, geometry.channel_of, strict=True)
    ):
        place = tuple(geometry.coordinates[position].astype(int))
        image[(slice(None), channel, *place)] = rows[:, column]
    return image


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from([(7,), (12,), (4, 5), (6, 3)]),
    st.integers(1, 3),
    st.integers(0, 5),
    st.sampled_from([1, 3]),
)
def test_shared_is_the_convolution_of_the_arranged_columns(shape, channels, missing, window):
    geometry = shuffled(shape, channels, missing=missing)
    d = len(geometry.position_of)
    network = compile_network(Structure("shared", 3, window), geometry, d, 2, width=3, depth=1)
    rows = torch.randn(5, d)
    convolve = F.conv2d if len(shape) == 2 else F.conv1d
    expected = convolve(image_of(rows, geometry), network.first.weight, padding=window // 2)
    assert torch.allclose(network.first(network.arranged(rows)), expected, atol=1e-6)
    assert isinstance(network.first, nn.Conv2d if len(shape) == 2 else nn.Conv1d)


def test_a_ring_is_closed():
    geometry = shuffled((9,), kind="ring")
    network = compile_network(Structure("shared", 2, 3), geometry, 9, 2, width=2, depth=1)
    rows = torch.randn(4, 9)
    image = image_of(rows, geometry)
    turned = network.first(torch.roll(image, 2, dims=2))
    assert torch.allclose(turned, torch.roll(network.first(image), 2, dims=2), atol=1e-6)
    local = neighbourhoods(geometry, 3)
    assert (local >= 0).all()
    assert np.array_equal(np.sort(local[0]), np.sort(arranged_columns(geometry)[0, [8, 0, 1]]))


@settings(max_examples=12, deadline=None)
@given(st.sampled_from([(7,), (4, 5)]), st.integers(1, 2), st.integers(0, 3))
def test_local_is_a_convolution_where_all_positions_agree(shape, channels, missing):
    geometry = shuffled(shape, channels, missing=missing)
    d = len(geometry.position_of)
    shared = compile_network(Structure("shared", 3, 3), geometry, d, 2, width=3, depth=1)
    local = compile_network(Structure("local", 3, 3), geometry, d, 2, width=3)
    with torch.no_grad():
        local.first.weight.copy_(shared.first.weight.flatten(1).expand_as(local.first.weight))
    rows = torch.randn(5, d)
    expected = shared.first(shared.arranged(rows)).flatten(2)
    assert torch.allclose(local.first(rows), expected, atol=1e-5)


def test_local_sees_only_its_window():
    geometry = shuffled((10,))
    network = compile_network(Structure("local", 2, 3), geometry, 10, 2)
    rows = torch.zeros(1, 10, requires_grad=True)
    network.first(rows)[0, :, 4].sum().backward()
    seen = geometry.position_of[rows.grad[0].numpy() != 0]
    assert sorted(seen) == [3, 4, 5]


def test_other_geometries_gather_the_nearest():
    places = np.random.RandomState(0).normal(size=(8, 2))
    places[7] = np.nan
    geometry = Geometry("other", 2, places, np.arange(8), np.zeros(8, int))
    index = neighbourhoods(geometry, 3)
    assert index.shape == (7, 3)
    assert np.array_equal(index[:, 0], np.arange(7))
    for kind in ("shared", "local"):
        network = compile_network(Structure(kind, 2, 3), geometry, 8, 3).eval()
        assert network(torch.randn(4, 8)).shape == (4, 3)
    assert network.first.weight.shape == (7, 2, 3)
    assert geometry_bits(geometry, 3) > 7 * 3 * 3


def test_a_learned_support_is_kept_and_stays():
    random = np.random.RandomState(0)
    learned = random.normal(size=(9, 12)) * (random.random_sample((9, 12)) < 0.3)
    learned[4] = 0
    network = compile_network(Structure("sparse", 4), None, 12, 2, learned=learned)
    assert isinstance(network.first, Masked)
    kept = learned[learned.any(axis=1)]
    assert len(network.first.weight) == len(kept) < 9
    assert weights_of(network) == np.count_nonzero(kept) + 2 * len(kept)
    x = random.normal(size=(200, 12))
    before = network.first.weight.detach().clone()
    train_network(network, standard_samples(x, x[:, 0] > 0), course=Course(20, 50, 0.1))
    after = network.first.weight.detach()
    assert torch.equal(after != 0, before != 0)
    assert not torch.equal(after, before)


def test_learned_filters_become_kernels():
    geometry = shuffled((20,))
    index = neighbourhoods(geometry, 3)
    filters = np.array([[1.0, -2, 1], [1, 0, -1]])
    learned = np.zeros((24, 20))
    for unit in range(24):
        learned[unit, index[1 + unit % 18]] = filters[unit % 2] * (-1) ** (unit // 2)
    structure = Structure("shared", 8, 3)
    network = compile_network(structure, geometry, 20, 2, learned=learned, width=8)
    kernels = network.first.weight.detach().flatten(1).numpy().astype(float)
    kernels /= np.linalg.norm(kernels, axis=1, keepdims=True)
    filters /= np.linalg.norm(filters, axis=1, keepdims=True)
    assert np.abs(kernels[:2] @ filters.T).max(axis=0) == pytest.approx(1, abs=1e-3)
    wider = compile_network(Structure("shared", 8, 5), geometry, 20, 2, learned=learned)
    assert wider.first.weight.shape == (32, 1, 5)
    local = compile_network(Structure("local", 2, 3), geometry, 20, 2, learned=learned)
    at = 1 + 7
    own = local.first.weight[at, 0].detach().double().numpy()
    assert abs(own @ filters[1]) == pytest.approx(np.linalg.norm(own), rel=1e-5)


@pytest.mark.parametrize("shape", [(30,), (9, 14)])
def test_deeper_networks_halve_the_places(shape):
    geometry = shuffled(shape, 2)
    d = len(geometry.position_of)
    network = compile_network(Structure("shared", 2, 3), geometry, d, 5, width=4)
    kind = nn.Conv2d if len(shape) == 2 else nn.Conv1d
    assert sum(isinstance(layer, kind) for layer in network) > 1
    largest = network.halve1(network.first(network.arranged(torch.ones(1, d))))
    assert largest.shape[2:] == tuple((extent + 1) // 2 for extent in shape)
    assert network.eval()(torch.randn(3, d)).shape == (3, 5)


@pytest.mark.parametrize(
    "structure", [Structure("sparse", 4), Structure("local", 2, 3), Structure("shared", 4, 3)]
)
def test_networks_survive_pickling_and_export(structure):
    network = compile_network(structure, shuffled((5, 6)), 30, 3).eval()
    rows = torch.randn(4, 30)
    again = pickle.loads(pickle.dumps(network))
    assert torch.equal(again(rows), network(rows))
    exported = torch.export.export(network, (rows,)).module()
    assert torch.allclose(exported(rows), network(rows), atol=1e-6)
    before = torch.random.get_rng_state()
    same = compile_network(structure, shuffled((5, 6)), 30, 3).eval()
    assert torch.equal(same(rows), network(rows))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_multiply_adds_are_those_of_the_layers():
    line, grid = shuffled((9,)), shuffled((5, 6))
    counts = {
        30 * 64 + 64 * 3: compile_network(Structure("dense", 64), None, 30, 3),
        30 * 9 * 32 + 30 * 32 * 3: compile_network(Structure("shared", 4, 3), grid, 30, 3, depth=1),
        9 * 3 * 2 + 9 * 2 * 3: compile_network(Structure("local", 2, 3), line, 9, 3),
    }
    for expected, network in counts.items():
        network.train()
        columns = 9 if expected < 200 else 30
        assert multiply_adds(network, columns) == expected
        assert network.training
    written = 30 + 2 * 30 * 4 + 2 * 4 * 30 + 3
    network = compile_network(Structure("shared", 4, 3), grid, 30, 3, width=4, depth=1)
    assert work_of_a_row(network, 30) == 3 * (30 * 9 * 4 + 30 * 4 * 3 + 16 * written)
    assert [steps_of(passes, 100, 30) for passes in (0, 0.5, 2)] == [1, 2, 8]


def test_training_is_reproducible_and_lowers_the_loss():
    x = np.random.RandomState(0).normal(size=(300, 12))
    samples = standard_samples(x, (x[:, 0] * x[:, 1] > 0).astype(int))
    for exact in (False, True):
        course = Course(60, 50, 0.05, exact=exact)
        trained = []
        for _ in range(2):
            network = compile_network(Structure("dense", 16), None, 12, 2)
            before = float(samples.losses(network.eval()(samples.inputs)).mean().detach())
            trained.append(train_network(network, samples, course=course, seed=3))
        first, second = (network(samples.inputs) for network in trained)
        assert torch.equal(first, second)
        assert float(samples.losses(first).mean().detach()) < before / 2
    with pytest.raises(Collapse, match="try a third"):
        train_network(network, samples, course=Course(60, 50, 1e30))


def test_trees_are_bounded_by_what_they_may_cost():
    small = extent_within(1e12, 1000, 20, 2, 31)
    assert (small.rows, small.columns, small.rounds) == (1000, 20, 300)
    wide = extent_within(1e12, 50_000, 3072, 10, 31)
    assert wide.columns < 3072
    assert wide.rounds >= 20
    assert 20 * 5 * 10 * wide.rows * wide.columns * wide.rounds < 1.5e12
    least = extent_within(0, 50_000, 3072, 10, 31)
    assert (least.rows, least.columns, least.rounds) == (5000, 256, 20)


@pytest.mark.parametrize("numbers", [False, True])
def test_trees_keep_the_columns_that_tell_most(numbers):
    x = np.random.RandomState(0).normal(size=(400, 9))
    x[:, 2] = 3
    y = x[:, 4] + x[:, 7]
    samples = standard_samples(x, y if numbers else (y > 0).astype(int))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a column of one value there is nothing to be warned
        trees = BoostedTrees(samples, Extent(300, 2, 30), lr=0.3, leaves=15, seed=0)
    assert list(trees.columns) == [4, 7]
    assert trees.rounds <= 30
    assert score(trees.predict(samples), samples) > 0.85


def test_the_compiled_network_pays_and_the_test_rows_choose_nothing():
    random = np.random.default_rng(0)
    geometry = shuffled((20,))
    x = random.normal(size=(1200, 20))
    seen = np.lib.stride_tricks.sliding_window_view(x[:, np.argsort(geometry.position_of)], 3, 1)
    values = np.abs(seen @ [0.5, -1, 0.5]).sum(axis=1)
    samples = standard_samples(x, (values > np.median(values)).astype(int))
    train, test = samples.part(np.arange(800)), samples.part(np.arange(800, 1200))
    other = samples.part(np.arange(1190, 1200))
    options = {"work": 2e7, "hidden": (32,), "batch_size": 50}
    structure = Structure("shared", 4, 3, 1)
    options |= {"trees": False}
    found = compare_networks(train, test, structure, geometry, true_geometry=geometry, **options)
    by_name = {one.name: one for one in found}
    assert list(by_name) == ["dense", "compiled", "true convolution"]
    assert by_name["compiled"].test > by_name["dense"].test + 0.05
    assert by_name["compiled"].test == by_name["true convolution"].test  # the same geometry
    again = compare_networks(train, other, structure, geometry, **options)
    assert [one.name for one in again] == ["dense", "compiled"]
    for one in again:
        assert one.settings == by_name[one.name].settings
        assert one.validation == by_name[one.name].validation
    options |= {"true_geometry": geometry, "done": found[:2]}
    shown = []
    rest = compare_networks(train, test, structure, geometry, progress=shown.append, **options)
    assert rest[:2] == found[:2]
    assert [one.name for one in shown] == ["true convolution"]
    assert rest[2].test == by_name["true convolution"].test


def test_who_diverges_is_left_out_and_settings_that_do_are_passed_over(monkeypatch):
    x = np.random.default_rng(0).normal(size=(150, 8))
    samples = standard_samples(x, (x[:, 0] > 0).astype(int))
    options = {"work": 1e6, "hidden": (8,), "batch_size": 50, "trees": False}
    structure, line = Structure("shared", 2, 3), shuffled((8,))
    real = comparison.train_network
    bad_rate = compare_networks(samples, samples, None, None, **options)[0].settings["lr"]

    def diverging(network, rows, *, course, seed):
        if len(rows) == len(samples) and course.lr == bad_rate:
            raise Collapse("the loss is nan")
        return real(network, rows, course=course, seed=seed)

    monkeypatch.setattr(comparison, "train_network", diverging)
    found = compare_networks(samples, samples, structure, line, **options)
    assert [one.name for one in found] == ["dense", "compiled"]
    assert found[0].settings["lr"] != bad_rate

    def never(network, rows, *, course, seed):
        raise Collapse("the loss is nan")

    monkeypatch.setattr(comparison, "train_network", never)
    (trees,) = compare_networks(samples, samples, None, None, **options | {"trees": True})
    assert trees.name == "boosted trees"
    with pytest.raises(Collapse, match="every network diverged"):
        compare_networks(samples, samples, None, None, **options)


def test_a_layer_of_which_nothing_is_left_is_none_at_all():
    x = np.random.default_rng(0).normal(size=(150, 8))
    samples = standard_samples(x, (x[:, 0] > 0).astype(int))
    options = {"work": 1e6, "hidden": (8,), "batch_size": 50, "trees": False}
    for learned in (np.zeros((0, 8)), np.zeros((2, 8))):
        found = compare_networks(
            samples, samples, Structure("sparse", 4), None, learned=learned, **options
        )
        assert [one.name for one in found] == ["dense", "compiled"]


def test_trees_of_many_classes_stop_without_rows_held_out():
    x = np.random.default_rng(0).normal(size=(256, 4))
    samples = standard_samples(x, np.arange(256) % 40)  # a tenth is 26 rows, for 40 classes
    trees = BoostedTrees(samples, Extent(256, 4, 2), lr=0.3, leaves=4, seed=0)
    assert trees.rounds == 2


def test_all_contenders_may_do_the_same_work():
    random = np.random.default_rng(0)
    x = random.normal(size=(150, 8))
    samples = standard_samples(x, (x[:, 0] > 0).astype(int))
    shown = []
    options = {"hidden": (8,), "batch_size": 50, "progress": shown.append}
    dense, trees = compare_networks(samples, samples, None, None, work=150 * 2e3, **options)
    assert (dense.name, trees.name) == ("dense", "boosted trees")
    assert shown == [dense, trees]
    fresh = compile_network(Structure("dense", 8), None, 8, 2, width=int(dense.settings["width"]))
    of_a_row = work_of_a_row(fresh, 8)
    assert dense.settings["passes"] == pytest.approx(2e3 / of_a_row, abs=0.01)
    assert (trees.settings["rows"], trees.settings["columns"]) == (150, 8)
    assert trees.settings["rounds"] <= 20  # the least, for so little work
    assert trees.test > 0.9
    structure, line = Structure("shared", 2, 3), shuffled((8,))
    options["trees"] = False
    _, compiled = compare_networks(samples, samples, structure, line, work=1, **options)
    assert compiled.settings["passes"] >= 3 or compiled.settings["width"] > 16


def test_scores():
    x = np.zeros((4, 1))
    classes = standard_samples(x, np.array([0, 1, 1, 0]))
    assert score(np.array([0.0, 1, 0, 0]), classes) == 0.75
    numbers = standard_samples(x, np.array([1.0, 2, 3, 4]))
    assert score(numbers.targets.double().numpy(), numbers) == 1
    assert score(np.zeros(4), numbers) == pytest.approx(0)
    same = numbers.part(np.array([2]))  # no R²: met or not
    met = same.targets.double().numpy()
    assert (score(met, same), score(met + 1e-9, same)) == (1, 0)


def test_what_cannot_be_is_refused():
    line = shuffled((8,))
    nowhere = Geometry("none", 0, np.zeros((8, 0)), np.arange(8), np.zeros(8, int))
    with pytest.raises(InvalidArgument, match="needs a geometry"):
        compile_network(Structure("shared", 2, 3), nowhere, 8, 2)
    with pytest.raises(InvalidArgument, match="odd number"):
        compile_network(Structure("shared", 2, 4), line, 8, 2)
    with pytest.raises(InvalidArgument, match="window is 3 for a dense"):
        Structure("dense", 2, 3)
    with pytest.raises(InvalidArgument, match="choose from dense, local"):
        Structure("sparce", 2)
    with pytest.raises(InvalidArgument, match="depth is 2"):
        compile_network(Structure("dense", 2), None, 8, 2, depth=2)
    with pytest.raises(InvalidArgument, match=r"give \(units, 8\)"):
        compile_network(Structure("sparse", 2), None, 8, 2, learned=np.zeros((2, 9)))
    with pytest.raises(InvalidArgument, match="no weight of learned is left"):
        compile_network(Structure("sparse", 2), None, 8, 2, learned=np.zeros((2, 8)))
    with pytest.raises(InvalidArgument, match=r"takes rows, \(n, 8\)"):
        compile_network(Structure("shared", 2, 3), line, 8, 2)(torch.zeros(3, 9))
    with pytest.raises(InvalidArgument, match="a ring of 4"):
        neighbourhoods(shuffled((4,), kind="ring"), 5)


@pytest.mark.parametrize("width", [1, 2])
@pytest.mark.parametrize(("shape", "channels"), [((9,), 1), ((9,), 4), ((5, 6), 3)])
def test_any_number_of_kernels_may_begin_with_learned_filters(shape, channels, width):
    """A single kernel of a line with several columns at a place is one kernel, not several."""
    geometry = shuffled(shape, channels)
    columns = len(geometry.position_of)
    learned = np.random.default_rng(0).normal(size=(20, columns))
    structure = Structure("shared", width, 3)
    network = compile_network(structure, geometry, columns, 2, learned=learned, width=width)
    assert network.first.weight.shape == (width, channels, *[3] * len(shape))
    assert bool(network.first.weight.isfinite().all())
