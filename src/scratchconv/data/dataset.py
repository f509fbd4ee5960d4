"""What a loaded dataset is: plain tensors, with the statistics needed to normalise them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

Task = Literal["classification", "regression"]

_EXACT_RUN = 256  # 256·255² < 2²⁴: a float32 sum of so many squared bytes is exact in any order
_CHUNK = 64  # images at a time, to stay in the cache


@dataclass(frozen=True)
class Split:
    """Samples and what is to be learned of them.

    `inputs` is (n, c, h, w): uint8 for images, float32 for vectors (then h = 1). `targets` is (n,):
    int64 class numbers for classification, float32 values for regression.
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        if self.inputs.ndim != 4 or self.targets.shape != self.inputs.shape[:1]:
            raise ValueError(
                f"a Split needs inputs (n, c, h, w) and targets (n,), "
                f"not {tuple(self.inputs.shape)} and {tuple(self.targets.shape)}"
            )

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Dataset:
    """A dataset under its published division into training and test samples.

    `classes` are the class names in label order, empty for regression. `mean` and `std` hold one
    number a channel, over the *training* inputs: images in [0, 1] units (uint8 / 255), vectors in
    their own.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    task: Task
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def digest(self) -> str:
        """Sixteen hexadecimal digits that stand for all samples and their targets.

        Of floating-point numbers only how many there are: those that were computed, such as the
        tree's, may differ in their last digits between machines.
        """
        total = hashlib.blake2b(digest_size=8)
        train, test = self.train, self.test
        for part in (train.inputs, train.targets, test.inputs, test.targets):
            total.update(f"{part.dtype} {tuple(part.shape)}".encode())
            if not part.is_floating_point():
                total.update(part.contiguous().numpy().data)
        return total.hexdigest()

    @property
    def image(self) -> tuple[int, int, int]:
        """Channels, height and width of one sample."""
        channels, height, width = self.train.inputs.shape[1:]
        return channels, height, width


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and (population) standard deviation of each channel of uint8 images, in [0, 1] units.

    `images` is (n, c, h, w). The sums are exact, whatever their order. A constant channel gets a
    standard deviation of 1, for its values to become 0, not NaN, when normalised.
    """
    samples, channels, height, width = images.shape
    pixels = images.numpy().reshape(samples, channels, height * width)
    total = np.zeros(channels)
    squares = np.zeros(channels)
    for start in range(0, samples, _CHUNK):
        chunk = pixels[start : start + _CHUNK].astype(np.float32)
        for column in range(0, height * width, _EXACT_RUN):
            run = chunk[:, :, column : column + _EXACT_RUN]
            total += np.einsum("ncp->nc", run).sum(0, dtype=np.float64)
            squares += np.einsum("ncp,ncp->nc", run, run).sum(0, dtype=np.float64)
    count = samples * height * width
    mean = total / count
    variance = squares / count - mean**2
    std = np.sqrt(np.where(variance > 0, variance, 255.0**2))
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())
