"""Setting validation samples aside from the training samples; the test set is never touched."""

from __future__ import annotations

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


def _validation_size(validation: float | int, samples: int) -> int:
    if isinstance(validation, float):
        if not 0 <= validation < 1:
            raise InvalidArgument(
                f"validation {validation} must be a fraction from 0 to below 1, "
                f"or an int number of samples"
            )
        return round(validation * samples)
    if not 0 <= validation < samples:
        raise InvalidArgument(
            f"validation {validation} must leave some of the {samples} training samples"
        )
    return validation


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
