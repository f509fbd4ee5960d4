"""Batches of a split: shuffled and augmented for training, in order for evaluation.

No worker processes and no per-sample Python: the data stays on the device as uint8, and a batch
is gathered, augmented and normalised at once. 512 CIFAR images with flips and crops take 1.4 ms
on two CPU cores (torch 2.13).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from scratchconv.data.augmentation import Augmentation, cutout_mask, draw, flip_and_crop
from scratchconv.data.dataset import Split
from scratchconv.data.permutation import permute_pixels
from scratchconv.data.random_streams import Purpose, stream
from scratchconv.errors import InvalidArgument


class Batches:
    """The training batches of a split, the same for the same seed on every device.

    `mean` and `std` hold one number a channel (images in [0, 1] units), as `Dataset` has them.
    `permutation`, from `pixel_permutation`, is applied after augmentation. `drop_last` leaves out
    an epoch's last, partial batch, so that all steps weigh every sample alike and BatchNorm never
    sees a handful; which samples are left out changes with every epoch. Raises InvalidArgument
    where the split cannot fill a batch, or is no images but is to be augmented.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        augmentation: Augmentation | None = None,
        permutation: Tensor | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
        drop_last: bool = True,
    ) -> None:
        _check_batch_size(batch_size)
        if len(split) == 0 or (drop_last and len(split) < batch_size):
            raise InvalidArgument(
                f"batch_size {batch_size} is more than the {len(split)} training samples: "
                f"choose at most {len(split)}, or drop_last=False"
            )
        self.augmentation = augmentation or Augmentation()
        if self.augmentation != Augmentation() and split.inputs.dtype != torch.uint8:
            raise InvalidArgument(
                f"{self.augmentation} is for uint8 images, not {split.inputs.dtype} inputs: "
                f"use augmentation=None"
            )
        self.inputs = split.inputs.to(device)
        self.targets = split.targets.to(device)
        self.batch_size = batch_size
        self.seed = seed
        self.drop_last = drop_last
        self.permutation = None if permutation is None else permutation.to(device)
        self._normalise = _Normalise(split, mean, std, device)

    def __len__(self) -> int:
        """Batches an epoch."""
        full, rest = divmod(len(self.inputs), self.batch_size)
        return full if self.drop_last or rest == 0 else full + 1

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch from number `start` on.

        A batch is (inputs, targets): float32 (b, c, h, w), normalised, and (b,). All randomness
        comes from (seed, epoch, number of the batch), so a resumed epoch goes on bit for bit.
        """
        order = torch.randperm(len(self.inputs), generator=stream(Purpose.ORDER, self.seed, epoch))
        if self.inputs.is_cuda:
            # From pinned memory, so that the host need not wait until the device has taken it.
            order = order.pin_memory().to(self.inputs.device, non_blocking=True)
        for number in range(start, len(self)):
            rows = order[number * self.batch_size : (number + 1) * self.batch_size]
            inputs = self.inputs.index_select(0, rows)
            yield self._prepare(inputs, epoch, number), self.targets.index_select(0, rows)

    def _prepare(self, inputs: Tensor, epoch: int, number: int) -> Tensor:
        erased: Tensor | None = None
        if self.augmentation != Augmentation():
            count, *image = inputs.shape
            shape = (image[0], image[1], image[2])
            generator = stream(Purpose.AUGMENTATION, self.seed, epoch, number)
            draws = draw(self.augmentation, count, shape, generator)
            inputs = flip_and_crop(inputs, self.augmentation, draws)
            if self.augmentation.cutout:
                erased = cutout_mask(shape, self.augmentation.cutout, draws)
                erased = erased.to(inputs.device, non_blocking=True)
        if self.permutation is not None:
            # Before normalising, which treats all pixels alike: a byte moves faster than a float.
            inputs = permute_pixels(inputs, self.permutation)
            erased = None if erased is None else permute_pixels(erased, self.permutation)
        inputs = self._normalise(inputs)
        # A product is several times as fast on a CPU as masked_fill_.
        return inputs if erased is None else inputs.mul_((~erased).float())


def evaluation_batches(
    split: Split,
    batch_size: int,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    permutation: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all samples of a split in order, (inputs, targets), as they are but normalised.

    The last batch may be smaller. `mean`, `std` and `permutation` are those of the training.
    """
    _check_batch_size(batch_size)
    normalise = _Normalise(split, mean, std, device)
    permutation = None if permutation is None else permutation.to(device)
    pairs = zip(
        torch.split(split.inputs, batch_size), torch.split(split.targets, batch_size), strict=True
    )
    for inputs, targets in pairs if len(split) else ():
        inputs = inputs.to(device)
        if permutation is not None:
            inputs = permute_pixels(inputs, permutation)
        yield normalise(inputs), targets.to(device)


class _Normalise:
    """Inputs to float32 of mean 0 and standard deviation 1 a channel, as one scale and shift."""

    def __init__(
        self,
        split: Split,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str,
    ) -> None:
        channels = split.inputs.shape[1]
        if not len(mean) == len(std) == channels:
            raise InvalidArgument(
                f"mean and std need one number for each of the {channels} channels, "
                f"not {len(mean)} and {len(std)}"
            )
        unit = 255.0 if split.inputs.dtype == torch.uint8 else 1.0
        scale = torch.tensor([1 / (unit * deviation) for deviation in std])
        shift = torch.tensor([-m / deviation for m, deviation in zip(mean, std, strict=True)])
        self.scale = scale.view(-1, 1, 1).to(device)
        self.shift = shift.view(-1, 1, 1).to(device)

    def __call__(self, inputs: Tensor) -> Tensor:
        return inputs.to(torch.float32, copy=True).mul_(self.scale).add_(self.shift)


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InvalidArgument(f"batch_size {batch_size} must be at least 1")
