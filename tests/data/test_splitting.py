"""Validation samples are set aside in proportion, by seed, and never from the test set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.data import Dataset, Split, load, split
from scratchconv.data.splitting import subset
from scratchconv.errors import InvalidArgument


def numbered(targets, classes, task="classification") -> Dataset:
    """A dataset whose sample k has the input k."""

    def of(values):
        return Split(torch.arange(len(values)).view(-1, 1, 1, 1).float(), torch.tensor(values))

    names = tuple(map(str, range(classes)))
    return Dataset("made", of(targets), of(targets[:3]), names, task, (0.0,), (1.0,))


@given(
    targets=st.lists(st.integers(0, 3), min_size=4, max_size=60),
    part=st.floats(0, 0.99),
    seed=st.integers(0, 5),
)
@settings(deadline=None, max_examples=60)
def test_every_class_gives_its_share(targets, part, seed):
    dataset = numbered(targets, 4)
    size = min(int(part * len(targets)), len(targets) - 1)
    train, validation, test = split(dataset, size, seed)
    assert len(validation) == size
    both = torch.cat([train.inputs, validation.inputs]).flatten()
    assert sorted(both.tolist()) == list(range(len(targets)))
    assert test is dataset.test
    for part_of in (train, validation):
        rows = part_of.inputs.flatten().long()
        assert torch.equal(part_of.targets, dataset.train.targets[rows])
        assert torch.equal(rows, rows.sort().values)
    counts = torch.bincount(dataset.train.targets, minlength=4).double()
    chosen = torch.bincount(validation.targets, minlength=4).double()
    assert bool(((chosen - counts * size / len(targets)).abs() < 1).all())


def test_the_seed_decides_alone():
    dataset = load("digits")
    first, again, other = (split(dataset, 0.1, seed)[1] for seed in (0, 0, 1))
    assert len(first) == round(0.1 * 1437)
    assert torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.inputs, other.inputs)


def test_nothing_set_aside():
    dataset = numbered([0, 1, 0, 1], 2)
    for none in (0, 0.0):
        train, validation, _ = split(dataset, none)
        assert train is dataset.train
        assert len(validation) == 0


def test_regression_is_split_at_random():
    dataset = load("tree", train_size=50, test_size=5)
    train, validation, _ = split(dataset, 0.2, 3)
    assert (len(train), len(validation)) == (40, 10)
    values = torch.cat([train.targets, validation.targets]).sort().values
    assert torch.equal(values, dataset.train.targets.sort().values)


@pytest.mark.parametrize("validation", [5, -3])
def test_of_no_samples_none_can_be_set_aside(validation):
    with pytest.raises(InvalidArgument, match="must leave some of the 0"):
        split(numbered([], 2), validation)


def test_sizes_may_be_numpys():
    dataset = numbered([0, 1] * 10, 2)
    for validation, size in ((np.float32(0.5), 10), (np.int64(4), 4)):
        assert len(split(dataset, validation)[1]) == size


@pytest.mark.parametrize("validation", [1.0, -0.1, 4, 5, -1, float("nan"), 0.99])
def test_sizes_that_leave_nothing_are_refused(validation):
    with pytest.raises(InvalidArgument, match="validation"):
        split(numbered([0, 1, 0, 1], 2), validation)


@given(
    targets=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    data=st.data(),
    seed=st.integers(0, 5),
)
@settings(deadline=None, max_examples=60)
def test_a_subset_is_balanced_and_part_of_every_larger_one(targets, data, seed):
    train = numbered(targets, 4).train
    sizes = sorted(data.draw(st.lists(st.integers(1, len(targets)), min_size=2, max_size=2)))
    rows = []
    for size in sizes:
        drawn = subset(train, size, classes=4, seed=seed)
        rows.append(drawn.inputs.flatten().long())
        assert len(rows[-1]) == size
        assert torch.equal(rows[-1], rows[-1].sort().values.unique())
        assert torch.equal(drawn.targets, train.targets[rows[-1]])
        there = torch.bincount(train.targets, minlength=4)
        chosen = torch.bincount(drawn.targets, minlength=4)
        # Equally many, but for classes that have given all they have.
        assert bool(((chosen >= chosen.max() - 1) | (chosen == there)).all())
    assert set(rows[0].tolist()) <= set(rows[1].tolist())


def test_a_subset_without_classes_is_uniform_and_by_its_seed():
    train = load("tree", train_size=80, test_size=5).train
    first, again, other, larger = (
        subset(train, size, seed=seed) for size, seed in ((20, 0), (20, 0), (20, 1), (50, 0))
    )
    assert torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.inputs, other.inputs)
    assert set(first.targets.tolist()) < set(larger.targets.tolist())
    counts = torch.zeros(80)
    rows = {float(target): row for row, target in enumerate(train.targets)}
    for seed in range(200):
        drawn = subset(train, 20, seed=seed).targets.tolist()
        counts[[rows[target] for target in drawn]] += 1
    assert 25 < counts.min() < 50 < counts.max() < 75  # 50 ± 4 standard deviations of 6


@pytest.mark.parametrize("size", [0, -1, 5])
def test_a_subset_must_be_one(size):
    train = numbered([0, 1, 0, 1], 2).train
    with pytest.raises(InvalidArgument, match="from 1 to the 4"):
        subset(train, size)
    with pytest.raises(InvalidArgument, match="seed -1"):
        subset(train, 2, seed=-1)
