"""Where a unit looks: its |w| as a distribution of mass over the pixel positions of the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scratchconv.errors import InvalidArgument

Weight: TypeAlias = "Tensor | NDArray[np.floating[Any]]"
Permutation: TypeAlias = "Tensor | NDArray[np.integer[Any]] | Sequence[int]"

_CHUNK = 2**20
"""Weights taken at a time: at most 8 MiB in float64, whatever the size of the layer."""


def masses(
    weight: Weight, image: tuple[int, int, int], permutation: Permutation | None = None
) -> Iterator[Tensor]:
    """Yields, for a few units at a time, each unit's share of |w| at every true pixel position.

    `weight` is (units, c·h·w) or (units, c, h, w), of any floating dtype; `image` is (c, h, w).
    With `permutation` (h·w,), network input position k shows true pixel permutation[k]; the mass
    is moved to where the pixel truly lies. |w| is summed over channels and divided by the unit's
    total, so each row of the (≤ chunk, h·w) float64 tensors sums to 1; the row of a dead unit
    (all weights zero) is NaN. The tensors lie on the weight's device.

    Raises InvalidArgument if the shapes do not match or a weight is not finite.
    """
    rows = _by_position(weight, image)
    channels, positions = rows.shape[1:]
    destination = None if permutation is None else true_positions(permutation, image)
    if destination is not None:
        destination = destination.to(rows.device)
    # Over a few channels float32 loses nothing that matters; float64 sums are five times slower.
    accumulator = torch.promote_types(rows.dtype, torch.float32)
    units = max(1, _CHUNK // (channels * positions))
    finite = torch.ones((), dtype=torch.bool, device=rows.device)
    for start in range(0, len(rows), units):
        mass = rows[start : start + units].abs().sum(dim=1, dtype=accumulator).double()
        total = mass.sum(dim=1, keepdim=True)
        finite &= total.isfinite().all()
        # Looked at once, before the last of them: a GPU would be waited for each time.
        if start + units >= len(rows) and not finite:
            raise InvalidArgument("the weights hold NaN or infinity: locality is not defined")
        mass /= total
        if destination is not None:
            mass = torch.empty_like(mass).index_copy_(1, destination, mass)
        yield mass


def true_positions(permutation: Permutation, image: tuple[int, int, int]) -> Tensor:
    """`permutation` as an int64 tensor (h·w,), after checking that it is one of h·w positions."""
    positions = image[1] * image[2]
    destination = torch.as_tensor(permutation).detach().cpu()
    integer = not (destination.is_floating_point() or destination.is_complex())
    if (
        not integer
        or destination.shape != (positions,)
        or not torch.equal(destination.long().sort().values, torch.arange(positions))
    ):
        raise InvalidArgument(
            f"permutation of shape {tuple(destination.shape)} is not a permutation of the "
            f"{positions} pixel positions of image {image}: it must hold each of "
            f"0…{positions - 1} once"
        )
    return destination.long()


def checked_image(image: tuple[int, int, int]) -> tuple[int, int, int]:
    """`image` as three positive ints (c, h, w); raises InvalidArgument if it is not that."""
    sides = tuple(int(side) for side in image)
    if len(sides) != 3 or min(sides) < 1:
        raise InvalidArgument(
            f"image {tuple(image)} is not (channels, height, width), each at least 1; "
            "for a sequence use (channels, 1, length)"
        )
    return sides


def _by_position(weight: Weight, image: tuple[int, int, int]) -> Tensor:
    """The weight viewed as (units, channels, positions)."""
    channels, height, width = checked_image(image)
    tensor = torch.as_tensor(weight).detach()
    if not tensor.is_floating_point():
        raise InvalidArgument(f"weight has dtype {tensor.dtype}: a floating dtype is needed")
    flat = tensor.ndim == 2 and tensor.shape[1] == channels * height * width
    if not flat and tuple(tensor.shape[1:]) != (channels, height, width):
        raise InvalidArgument(
            f"weight of shape {tuple(tensor.shape)} does not match image {tuple(image)}: expected "
            f"(units, {channels * height * width}) or (units, {channels}, {height}, {width}); for "
            "a convolution or local layer pass receptive_fields(layer, image)"
        )
    return tensor.reshape(tensor.shape[0], channels, height * width)
