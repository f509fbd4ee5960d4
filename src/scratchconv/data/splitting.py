"""Setting validation samples aside, and training on some of the rest; the test set stays whole."""

from __future__ import annotations

import numbers

import numpy as np
import torch
from torch import Tensor

from scratchconv.data.dataset import Dataset, Split
from scratchconv.data.random_streams import Purpose, stream
from scratchconv.errors import InvalidArgument


def split(
    dataset: Dataset, validation: float | int = 0.1, seed: int = 0
) -> tuple[Split, Split, Split]:
    """Divide a dataset into (train, validation, test), the same for the same seed.

    `validation` is a fraction of the training samples (a float) or their number (an int); 0 sets
    none aside. For classification the division is stratified: every class gives its share, to
    within one sample, so that validation accuracy does not vary with the luck of the class mix.
    For regression it is uniformly random. Samples keep their order, and the test split is the
    dataset's own, as it is. The paper names neither size nor seed (Neyshabur 2020); 0.1 is the
    5,000 of 50,000 usual for CIFAR.
    """
    train = dataset.train
    size = _validation_size(validation, len(train))
    if size == 0:
        empty = Split(train.inputs[:0], train.targets[:0])
        return train, empty, dataset.test
    if dataset.task == "classification":
        chosen = _stratified(train.targets, len(dataset.classes), size, seed)
    else:
        chosen = torch.zeros(len(train), dtype=torch.bool)
        chosen[torch.randperm(len(train), generator=stream(Purpose.VALIDATION, seed))[:size]] = True
    kept, held_out = (
        Split(train.inputs[rows], train.targets[rows])
        for rows in ((~chosen).nonzero().squeeze(1), chosen.nonzero().squeeze(1))
    )
    return kept, held_out, dataset.test


def subset(train: Split, size: int, *, classes: int = 0, seed: int = 0) -> Split:
    """`size` of the training samples, drawn by `seed`; their order stays.

    With `classes` above 0 every class gives equally many, to within one ("a random balanced size-n
    subset": Zhang 2021, §3.3), as long as it has so many; otherwise the draw is uniform. With the
    same seed a larger subset contains the smaller one. Raises InvalidArgument where there are not
    so many samples.
    """
    if not 1 <= size <= len(train):
        raise InvalidArgument(
            f"train_size {size} must be from 1 to the {len(train)} training samples there are"
        )
    if seed < 0:
        raise InvalidArgument(f"seed {seed} must be 0 or more")
    draw = np.random.default_rng((_SUBSET, seed))
    order = torch.from_numpy(draw.permutation(len(train)))
    if classes:
        turns = torch.empty(len(train), dtype=torch.int64)
        # One sample of every class at a time; the seed decides whose turn comes first.
        for turn, label in enumerate(draw.permutation(classes).tolist()):
            of_class = (train.targets[order] == label).nonzero().squeeze(1)
            turns[of_class] = torch.arange(len(of_class)) * classes + turn
        order = order[turns.argsort()]
    rows = order[:size].sort().values
    return Split(train.inputs[rows], train.targets[rows])


# Keeps these draws apart from those of the streams that have a purpose, which are small numbers.
_SUBSET = 2_000


def _validation_size(validation: float | int, samples: int) -> int:
    if isinstance(validation, numbers.Integral):
        size = int(validation)
    elif 0 <= validation < 1:
        size = round(float(validation) * samples)
    else:
        raise InvalidArgument(
            f"validation {validation} must be a fraction from 0 to below 1, or an int number of"
            " samples"
        )
    if size and not 0 <= size < samples:
        raise InvalidArgument(
            f"validation {validation} must leave some of the {samples} training samples"
        )
    return size


def _stratified(targets: Tensor, classes: int, size: int, seed: int) -> Tensor:
    """A mask of `size` samples, spread over the classes by largest remainder."""
    counts = torch.bincount(targets, minlength=classes).double()
    shares = counts * size / len(targets)
    quotas = shares.floor().long()
    short = size - int(quotas.sum())
    quotas[(shares - quotas).argsort(descending=True, stable=True)[:short]] += 1
    order = torch.randperm(len(targets), generator=stream(Purpose.VALIDATION, seed))
    chosen = torch.zeros(len(targets), dtype=torch.bool)
    for label, quota in enumerate(quotas.tolist()):
        chosen[order[targets[order] == label][:quota]] = True
    return chosen
