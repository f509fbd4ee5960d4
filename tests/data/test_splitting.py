"""Validation samples are set aside in proportion, by seed, and never from the test set."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchconv.data import Dataset, Split, load, split
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


@pytest.mark.parametrize("validation", [1.0, -0.1, 4, 5, -1, float("nan")])
def test_sizes_that_leave_nothing_are_refused(validation):
    with pytest.raises(InvalidArgument, match="validation"):
        split(numbered([0, 1, 0, 1], 2), validation)
