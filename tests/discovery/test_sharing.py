"""Decisions about tables whose structure is known, what decides, and filters that shift."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from scratchconv.discovery.alignment import shared_filters
from scratchconv.discovery.folding import in_steps
from scratchconv.discovery.geometry import Geometry
from scratchconv.discovery.neighbourhoods import geometry_bits, neighbourhoods
from scratchconv.discovery.network_code import (
    constant_code,
    label_bits,
    network_code,
)
from scratchconv.discovery.network_training import Course, train_network
from scratchconv.discovery.networks import Structure, new_structured_network
from scratchconv.discovery.sharing import Sharing, find_sharing, standard_samples
from scratchconv.discovery.structure_search import Choices, Lattice, Search
from scratchconv.errors import InvalidArgument

SHORT = Course(steps=250, batch_size=256, lr=0.1, exact=True)
SHORTEST = dataclasses.replace(SHORT, steps=50)


def line(m, kind="line"):
    return Geometry(
        kind, 1, np.arange(m, dtype=float)[:, None], np.arange(m), np.zeros(m, int), (m,)
    )


def grid(h, w):
    places = np.stack(np.unravel_index(np.arange(h * w), (h, w)), axis=1).astype(float)
    return Geometry("grid", 2, places, np.arange(h * w), np.zeros(h * w, int), (h, w))


def teacher(kind, seed, rows=3000, columns=16, window=3):
    """y = Σ |w_u · x| over the units u of a network of this kind, with a tenth of noise."""
    random = np.random.default_rng(seed)
    places = np.arange(columns - window + 1)[:, None] + np.arange(window)
    if kind == "shared":
        weights = np.tile(random.normal(size=window), (len(places), 1))
    elif kind == "local":
        weights = random.normal(size=places.shape)
    else:  # as many units as the others have columns a unit, and as many of all columns
        seen = window if kind == "sparse" else columns
        places = np.stack([random.permutation(columns)[:seen] for _ in range(3)])
        weights = random.normal(size=places.shape)
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    x = random.normal(size=(rows, columns))
    y = np.abs(np.einsum("nus,us->nu", x[:, places], weights)).sum(axis=1)
    return x, (y - y.mean()) / y.std() + 0.1 * random.normal(size=rows)


def decided(table, targets, geometry, seed=0, course=SHORT, **choices):
    wanted = {"widths": (8,), "position_widths": (2,), "filters": (8,), "windows": (3,)}
    wanted |= {"pools": (1, 0), "multiples": (0.5,), "restarts": 0} | choices
    return find_sharing(
        standard_samples(table, targets),
        geometry,
        choices=Choices(**wanted),
        course=course,
        seed=seed,
    )


@pytest.mark.parametrize("kind", ["shared", "local", "sparse", "dense"])
def test_what_the_labels_were_made_with_is_decided_on(kind):
    found = decided(*teacher(kind, 0), line(16))
    assert found.verdict == kind
    assert found.structure.kind == kind
    assert found.margin > 100


def test_one_filter_across_a_grid_is_shared():
    random = np.random.default_rng(0)
    x = random.normal(size=(3000, 6, 6))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    seen = np.einsum("nijkl,kl->nij", windows, [[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    values = np.abs(seen).sum(axis=(1, 2))
    labels = np.searchsorted(np.quantile(values, [0.25, 0.5, 0.75]), values)
    found = decided(x.reshape(3000, 36), labels, grid(6, 6), pools=(1,), filters=(8,))
    assert found.verdict == "shared"
    assert found.structure.pool == 1


@pytest.mark.parametrize("seed", range(2))
def test_noise_is_nothing(seed):
    random = np.random.default_rng(seed)
    narrow = {"widths": (1,), "position_widths": (1,), "filters": (1,), "pools": (1,)}
    narrow["course"] = SHORTEST
    table, classes = random.normal(size=(1000, 20)), random.integers(0, 3, 1000)
    found = decided(table, classes, line(20), seed, **narrow)
    assert found.verdict == "none"
    assert found.structure is None
    assert found.margin > 0


def test_restarts_tell_what_a_margin_means():
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 6))
    options = {"widths": (2,), "restarts": 2, "course": SHORTEST}
    found = decided(x, (x[:, :2].sum(axis=1) > 0).astype(int), None, **options)
    tried = {
        kind: [c.bits for c in found.tried if c.structure and c.structure.kind == kind]
        for kind in ("dense", "sparse")
    }
    assert len(tried["sparse"]) == 3
    assert len(tried["dense"]) == 6  # and sparse ones, with their zeros told
    for kind, lengths in tried.items():
        shortest, middle, _ = sorted(lengths[:3])
        assert found.spread[kind] == middle - shortest
    doubtful = max(found.spread[kind] for kind in (found.verdict, found.runner_up))
    assert found.clear == (found.margin > doubtful)
    assert dataclasses.replace(found, spread=dict.fromkeys(found.spread, 10**9)).clear is False


def test_structures_of_a_kind_are_a_lattice():
    lattice = Lattice("shared", (1, 2, 4, 8), (3, 5), (1, 4, 0))
    assert {lattice.at(point)[0].width for point in lattice.first_points()} == {2}
    assert len(lattice.first_points()) == 6
    steps = {point: set(lattice.neighbours(point)) for point in [(0, 0, 0, 0), (1, 1, 1, 0)]}
    assert steps[0, 0, 0, 0] == {(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0)}
    assert steps[1, 1, 1, 0] == {
        (0, 1, 1, 0),
        (2, 1, 1, 0),
        (1, 0, 1, 0),
        (1, 1, 0, 0),
        (1, 1, 2, 0),
    }


def test_less_work_is_smaller_batches_then_fewer_steps():
    samples = standard_samples(np.random.default_rng(0).normal(size=(64, 50)), np.arange(64) % 2)
    network = nn.Sequential(nn.Linear(50, 1))
    of_a_row = 3 * (50 + 16)
    course = Course(steps=100, batch_size=256, lr=0.1)
    for rows, expected in (
        (math.inf, (100, 256)),
        (100 * 128, (100, 128)),
        (64 * 50, (50, 64)),
        (0, (25, 64)),
    ):
        search = Search(samples, None, None, None, course, rows * of_a_row, False, 0, 0, print)
        found = search.course_within(network)
        assert (found.steps, found.batch_size) == expected


def test_restarts_of_the_largest_seed():
    x = np.random.default_rng(0).normal(size=(60, 6))
    options = {"widths": (1,), "restarts": 1, "course": Course(2, 16, 0.1)}
    assert decided(x, np.arange(60) % 2, None, 2**32 - 1, **options).tried


def test_what_cannot_be_the_shortest_is_not_trained():
    samples = standard_samples(np.random.default_rng(0).normal(size=(60, 30)), np.arange(60) % 2)
    options = {"widths": (1, 2, 40), "restarts": 0, "position_widths": (9,), "filters": (1,)}
    found = find_sharing(samples, line(30), choices=Choices(**options), course=SHORTEST)
    tried = [(c.structure.kind, c.structure.width) for c in found.tried if c.structure]
    assert ("dense", 1) in tried  # 60 bits, and so are the labels' frequencies
    assert tried.count(("dense", 40)) == tried.count(("sparse", 40))  # those alone
    assert "local" not in found.codes
    assert "shared" in found.codes


def test_without_a_geometry_nothing_is_local():
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 6))
    nowhere = Geometry("none", 0, np.zeros((6, 0)), np.arange(6), np.zeros(6, int))
    for geometry in (None, nowhere):
        found = decided(x, x[:, 0] > 0, geometry, 0, widths=(1,))
        assert set(found.codes) == {"none", "dense", "sparse"}
        assert found.filters is None


def test_the_terms_add_up_and_the_shortest_decides():
    x = np.random.default_rng(0).normal(size=(300, 9))
    few = {"filters": (1,), "pools": (1,), "position_widths": (1,), "course": SHORTEST}
    found = decided(x, x[:, :2].sum(axis=1), line(9), widths=(1, 2), **few)
    assert isinstance(found, Sharing)
    for kind, code in found.codes.items():
        assert code.bits == sum(term.bits for term in code.terms)
        assert code.bits == code.network_bits + code.label_bits
        same = [c for c in found.tried if (c.structure.kind if c.structure else "none") == kind]
        assert code.bits == min(other.bits for other in same)
    assert found.codes[found.verdict].bits == min(code.bits for code in found.codes.values())


def trained(structure, geometry, columns=12, seed=0):
    x = np.random.default_rng(seed).normal(size=(300, columns))
    samples = standard_samples(x, (x[:, 0] * x[:, 1] > 0).astype(int))
    network = new_structured_network(structure, geometry, columns, 2, seed)
    train_network(network, samples, course=Course(20, 64, 0.1), seed=seed)
    return network, samples


@pytest.mark.parametrize(
    "structure",
    [
        Structure("dense", 5),
        Structure("sparse", 5),
        Structure("local", 2, 3),
        Structure("shared", 4, 3),
        Structure("shared", 4, 3, 1),
        Structure("shared", 4, 5, 4),
    ],
)
def test_eight_bits_lose_next_to_nothing(structure, monkeypatch):
    network, samples = trained(structure, line(12))
    shortest = network_code(network, structure, samples, line(12))
    monkeypatch.setattr("scratchconv.discovery.network_code.WEIGHT_BITS", (8,))
    code = network_code(network, structure, samples, line(12))
    assert code.label_bits < label_bits(network, samples) + 12
    assert shortest.bits <= code.bits + 3  # told among fewer, b is cheaper
    kept = network.first.weight.numel()
    if structure.kind == "dense":
        assert code.of("first layer: values") == kept * code.b
    if structure.kind == "shared":
        assert code.of("map: geometry") == geometry_bits(line(12), structure.window)
        known = network_code(network, structure, samples, line(12), geometry_known=True)
        assert known.of("map: geometry") == 0
        assert known.bits == code.bits - geometry_bits(line(12), structure.window)


def test_a_windows_overhang_is_not_coded():
    network, samples = trained(Structure("local", 2, 3), line(12))
    code = network_code(network, Structure("local", 2, 3), samples, line(12))
    assert code.of("first layer: values") == 2 * (12 * 3 - 2) * code.b


def test_dead_units_cost_no_more_than_their_absence():
    network, samples = trained(Structure("sparse", 6), None)
    with torch.no_grad():
        network.first.weight[3:] = 0
    before = label_bits(network, samples)
    code = network_code(network, Structure("sparse", 6), samples, None)
    assert code.label_bits < before + 12
    assert code.of("first layer: shifts") <= 3 * code.b


def test_numbers_cost_every_network_the_spread_of_its_errors():
    x = np.random.default_rng(0).normal(size=(300, 6))
    structure = Structure("dense", 3)
    for targets, bits in ((x[:, 0], 16), ((x[:, 0] > 0).astype(int), 0)):
        samples = standard_samples(x, targets)
        outputs = 1 if bits else 2
        network = new_structured_network(structure, None, 6, outputs, 0)
        assert network_code(network, structure, samples, None).of("spread of the errors") == bits


def test_constant_codes():
    x = np.zeros((64, 3))
    classes = constant_code(standard_samples(x, np.arange(64) % 4))
    assert classes.label_bits == 128
    skewed = constant_code(standard_samples(x, (np.arange(64) < 8).astype(int)))
    assert skewed.label_bits == math.ceil(64 * -(np.log2(1 / 8) / 8 + np.log2(7 / 8) * 7 / 8))
    numbers = constant_code(standard_samples(x, np.random.default_rng(0).normal(size=64)))
    assert numbers.label_bits == math.ceil(64 * math.log2(256 * math.sqrt(2 * math.pi * math.e)))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 8), st.integers(1, 40), st.integers(0, 2**16))
def test_rounding_takes_b_bits_and_is_near(b, size, seed):
    values = torch.from_numpy(np.random.default_rng(seed).normal(size=size).astype(np.float32))
    rounded = in_steps(values, b)
    levels = torch.unique(rounded.abs()[rounded != 0])
    assert len(torch.unique(rounded)) <= 2**b - 1
    if b == 8:
        assert float((rounded - values).square().mean()) <= 1e-3 * float(values.square().max())
    if len(levels) > 1:
        steps = levels / levels[0]
        assert torch.isfinite(steps).all()


def planted(geometry, window, filters, units, seed, *, shared):
    """Units of shifted, scaled, flipped filters, or each with one of its own; and some noise."""
    random = np.random.default_rng(seed)
    index = neighbourhoods(geometry, window)
    d = len(geometry.position_of)
    weights = np.zeros((units, d + 1))
    bank = random.normal(size=(filters, index.shape[1]))
    for unit in range(units):
        own = bank[unit % filters] if shared else random.normal(size=index.shape[1])
        scale = random.choice([-1, 1]) * random.uniform(0.5, 2)
        weights[unit, index[random.integers(len(index))]] = scale * own
    return weights[:, :d] + 0.02 * random.normal(size=(units, d)), bank


@pytest.mark.parametrize(
    ("geometry", "window"), [(line(24), 5), (line(24, "ring"), 5), (grid(7, 8), 3)]
)
def test_shifted_copies_are_found_and_others_are_not(geometry, window):
    for seed in range(2):
        weights, bank = planted(geometry, window, 2, 40, seed, shared=True)
        found = shared_filters(weights, geometry, window=window, seed=seed)
        assert found.p_value == 1 / 20
        assert found.z > 10
        assert found.explained > 0.9
        bank /= np.linalg.norm(bank, axis=1, keepdims=True)
        assert (np.abs(found.filters @ bank.T).max(axis=0) > 0.9).all()
        weights, _ = planted(geometry, window, 2, 40, seed, shared=False)
        assert shared_filters(weights, geometry, window=window, seed=seed).z < 5


def test_too_little_to_compare():
    assert shared_filters(np.zeros((9, 12)), line(12)) is None
    assert shared_filters(np.eye(12)[:2], line(12)) is None
    nowhere = Geometry("none", 0, np.zeros((12, 0)), np.arange(12), np.zeros(12, int))
    assert shared_filters(np.eye(12), nowhere) is None


def test_learned_filters_are_evidence_beside_the_bits():
    weights, _ = planted(line(20), 3, 2, 30, 0, shared=True)
    random = np.random.default_rng(1)
    found = find_sharing(
        standard_samples(random.normal(size=(500, 20)), random.integers(0, 2, 500)),
        line(20),
        learned=weights,
        choices=Choices((2,), (1,), (2,), (3,), (1,), (1.0,), 0),
        course=Course(steps=30, batch_size=128, lr=0.1),
    )
    assert found.filters.p_value == 1 / 20
    assert found.verdict == "none"


def test_what_cannot_be_is_refused():
    samples = standard_samples(np.eye(8), np.arange(8) % 2)
    with pytest.raises(InvalidArgument, match="9 columns, but the rows have 8"):
        find_sharing(samples, line(9))
    with pytest.raises(InvalidArgument, match=r"give weights, \(units, 8\)"):
        find_sharing(samples, None, learned=np.zeros((3, 7)))
    with pytest.raises(InvalidArgument, match="widths is empty"):
        Choices(widths=())
    with pytest.raises(InvalidArgument, match="restarts is -1"):
        Choices(restarts=-1)
    with pytest.raises(InvalidArgument, match="lr above 0"):
        Course(steps=1, batch_size=1, lr=0.0)
    with pytest.raises(InvalidArgument, match=r"give finite numbers, \(units, 9\)"):
        shared_filters(np.zeros((3, 8)), line(9))
    with pytest.raises(InvalidArgument, match="1 or more"):
        shared_filters(np.eye(9), line(9), null_samples=0)
    with pytest.raises(InvalidArgument, match="NaN"):
        standard_samples(np.full((2, 2), np.nan), np.arange(2))
    with pytest.raises(InvalidArgument, match="do not fit"):
        standard_samples(np.zeros((2, 2)), np.arange(3))
