"""`CompactNetwork`: a trained network with only what its outputs depend on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scratchconv.errors import InvalidArgument
from scratchconv.kernels.csr_matrix import CSRMatrix

IndexArray = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class CompactLayer:
    """``relu?(matrix @ x + bias)``, BatchNorm included, between the units that are kept.

    name: of the module that the weights come from.
    matrix: (kept units, kept inputs).
    bias: float32 (kept units,), finite.
    relu: whether a ReLU follows.
    units: int32 (kept units,), ascending: which units of the module these are.
    all_units: how many units the module has.
    all_inputs: how many inputs each of them has there.
    """

    name: str
    matrix: CSRMatrix
    bias: NDArray[np.float32]
    relu: bool
    units: IndexArray
    all_units: int
    all_inputs: int

    @property
    def density(self) -> float:
        """Non-zeros left, as a fraction of all weights that the module has."""
        return self.matrix.nonzero / max(1, self.all_units * self.all_inputs)


@dataclass(frozen=True, eq=False)
class CompactNetwork:
    """Layers to apply in turn. Made by `compact` from a model, and by `read` from a file.

    layers: at least one; the last has a unit for every class.
    inputs: int32, ascending: which features of a flattened sample the first layer reads.
    features: how many features a sample has.
    image: shape (channels, height, width) of a sample, or None where the model does not tell.
    mean, std: of each channel, in [0, 1] units; with them uint8 images can be normalised.
    """

    layers: tuple[CompactLayer, ...]
    inputs: IndexArray
    features: int
    image: tuple[int, int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def classes(self) -> int:
        return self.layers[-1].matrix.rows

    def normalised_by(
        self, mean: Sequence[float] | None, std: Sequence[float] | None
    ) -> CompactNetwork:
        """The same network with the mean and standard deviation of its training images.

        Raises InvalidArgument: one is missing, not finite, not one number a channel, or a standard
        deviation is not positive.
        """
        if mean is None and std is None:
            return replace(self, mean=None, std=None)
        if mean is None or std is None:
            raise InvalidArgument(f"mean is {mean} and std is {std}: give both or neither")
        if self.image:
            fits, channels = len(mean) == self.image[0], f"the {self.image[0]} channels"
        else:  # as many channels as the features can be divided into
            fits = len(mean) > 0 and self.features % len(mean) == 0
            channels = f"the channels, which {self.features} features are divided into"
        if not (fits and len(std) == len(mean)):
            raise InvalidArgument(
                f"mean and std have {len(mean)} and {len(std)} numbers: give one for each of"
                f" {channels}"
            )
        means, deviations = tuple(map(float, mean)), tuple(map(float, std))
        if not all(map(math.isfinite, means + deviations)) or min(deviations) <= 0:
            raise InvalidArgument(
                f"mean is {means} and std is {deviations}: they must be finite, and std positive"
            )
        return replace(self, mean=means, std=deviations)

    def scale_and_shift(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What turns a byte of each kept input into what the network takes: byte · scale + shift.

        Raises InvalidArgument where the network knows no mean and standard deviation.
        """
        if self.mean is None or self.std is None:
            raise InvalidArgument(
                "inputs are uint8, but this network was stored without mean and std: give"
                " normalised floating-point inputs, or export it with mean=... and std=..."
            )
        channel = self.inputs // (self.features // len(self.mean))
        mean, std = np.array(self.mean), np.array(self.std)
        scale, shift = 1 / (255 * std), -mean / std
        return scale.astype(np.float32)[channel], shift.astype(np.float32)[channel]
