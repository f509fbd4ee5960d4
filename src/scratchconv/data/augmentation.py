"""Random flips, crops and cutout of a whole batch at once, on the device the batch is on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from scratchconv.errors import InvalidArgument


@dataclass(frozen=True)
class Augmentation:
    """Which random changes training images go through, in this order; 0 or False means none.

    `flip`: left-right mirroring of every other image, on average. `crop`: the image is padded by
    so many pixels on every side, and a window of the original size is cut out at random. `cutout`:
    a square of so many pixels a side is erased; its centre is uniform over the image, so it may
    reach over the edge (DeVries & Taylor 2017, §3).

    Crops pad with black (0 in uint8), as all published CIFAR baselines do, so that accuracies
    compare. Cutout erases to the channel mean (0 once normalised), as its authors do, so that
    erasing does not shift the statistics of the batch.
    """

    flip: bool = False
    crop: int = 0
    cutout: int = 0

    def __post_init__(self) -> None:
        for name, pixels in (("crop", self.crop), ("cutout", self.cutout)):
            if pixels < 0:
                raise InvalidArgument(f"{name} {pixels} must be a number of pixels, 0 or more")


_DEFAULTS = {
    "cifar10": Augmentation(flip=True, crop=4),
    "cifar100": Augmentation(flip=True, crop=4),
    # A mirrored digit is no digit.
    "svhn": Augmentation(crop=4),
    # 2: its digits are centred, with 4 empty pixels around them; larger shifts would cut some.
    "mnist": Augmentation(crop=2),
    "mnist-32": Augmentation(crop=4),  # around them are 6 here
    "fashion-mnist": Augmentation(flip=True, crop=2),
}


def default_augmentation(name: str) -> Augmentation:
    """The augmentation usual for a dataset; none for `digits`, `tree` and data of one's own.

    The paper uses Fast AutoAugment (Neyshabur 2020, §4), which contains flips and crops.
    """
    return _DEFAULTS.get(name, Augmentation())


@dataclass(frozen=True)
class Draws:
    """The random choices for one batch of b images, on the CPU.

    `flipped` holds the rows of the images to mirror. `top` and `left` (b,) are the window's corner
    in the padded image, 0 … 2·crop. `centre_y` and `centre_x` (b,) are cutout's centre.
    """

    flipped: Tensor
    top: Tensor
    left: Tensor
    centre_y: Tensor
    centre_x: Tensor


def draw(
    augmentation: Augmentation, count: int, image: tuple[int, int, int], generator: torch.Generator
) -> Draws:
    """Draw the random choices for `count` images.

    Every number is drawn, whether used or not, so that turning one change on leaves the others'
    choices as they are.
    """

    def integers(below: int) -> Tensor:
        return torch.randint(below, (count,), generator=generator)

    _, height, width = image
    flips = integers(2)
    window = 2 * augmentation.crop + 1
    top, left, centre_y, centre_x = (
        integers(window),
        integers(window),
        integers(height),
        integers(width),
    )
    flipped = flips.nonzero().squeeze(1) if augmentation.flip else flips.new_empty(0)
    return Draws(flipped, top, left, centre_y, centre_x)


def flip_and_crop(images: Tensor, augmentation: Augmentation, draws: Draws) -> Tensor:
    """Mirror and shift a batch of uint8 images (b, c, h, w) as drawn; returns a new tensor.

    The images and the mirrored ones are laid out padded, one after another. Every row of the
    result is then a run of w bytes somewhere in there, and is copied as a whole: far faster on a
    CPU than indexing pixels.
    """
    count, channels, height, width = images.shape
    pad, device = augmentation.crop, images.device
    flipped, top, left = (
        choice.to(device, non_blocking=True) for choice in (draws.flipped, draws.top, draws.left)
    )
    padded_height, padded_width = height + 2 * pad, width + 2 * pad
    padded = images.new_zeros(count + len(flipped), channels, padded_height, padded_width)
    inner = padded[:, :, pad : pad + height, pad : pad + width]
    inner[:count] = images
    inner[count:] = images.index_select(0, flipped).flip(-1)

    source = torch.arange(count, device=device)
    source[flipped] = torch.arange(count, len(padded), device=device)
    plane = source[:, None] * channels + torch.arange(channels, device=device)
    corner = (plane * padded_height + top[:, None]) * padded_width + left[:, None]
    starts = corner[:, :, None] + torch.arange(height, device=device) * padded_width
    runs = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    return runs.index_select(0, starts.flatten()).view(images.shape)


def cutout_mask(image: tuple[int, int, int], side: int, draws: Draws) -> Tensor:
    """Where cutout erases: bool (b, 1, h, w). The square starts side // 2 before its centre."""
    _, height, width = image
    rows = torch.arange(height) - draws.centre_y[:, None] + side // 2
    columns = torch.arange(width) - draws.centre_x[:, None] + side // 2
    inside_rows = (rows >= 0) & (rows < side)
    inside_columns = (columns >= 0) & (columns < side)
    return (inside_rows[:, :, None] & inside_columns[:, None, :]).unsqueeze(1)
