"""`build` and `parameter_count`: networks by name, from `alpha` or a parameter budget."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from contextlib import nullcontext

import torch

from scratchconv.errors import InvalidArgument
from scratchconv.models import memory
from scratchconv.models.architecture import Architecture
from scratchconv.models.network import Network, Settings
from scratchconv.models.registry import find


def build(
    name: str,
    *,
    image: Sequence[int] = (3, 32, 32),
    classes: int = 10,
    alpha: int | None = None,
    params: float | None = None,
    dropout: float = 0.0,
    kernel_size: int = 3,
    seed: int | None = None,
) -> Network:
    """A network of `models.NAMES` with fresh weights.

    Args:
        name: one of `models.NAMES`.
        image: shape (channels, height, width) of one input, each at least 1.
        classes: outputs; 1 for a regression.
        alpha: size of the network, an integer of at least 1; `models` lists what it counts.
        params: instead of `alpha`, a budget of weights (25.6e6, say): the `alpha` whose
            `parameter_count` is nearest to it is chosen, the smaller one of two as near.
        dropout: rate in [0, 1) applied to the inputs of the last two dense layers (of the only one
            in `resnet18`). The paper trains with and without, and does not give the rate.
        kernel_size: odd side of the kernels of `resnet18`, less than twice that of the image; the
            other networks fix theirs.
        seed: draws the weights from this seed and leaves the global generator as it was. The same
            seed gives the same weights on every device. Without it the global generator is used.

    The network is made on the CPU and moved to torch's default device if that is another.

    Raises:
        InvalidArgument: an argument cannot be used, or the network does not fit the memory.
    """
    architecture = find(name)
    if (alpha is None) == (params is None):
        raise InvalidArgument(
            f"alpha is {alpha!r} and params is {params!r}: give exactly one of the two"
        )
    smallest = 1 if alpha is None else alpha
    settings = _settings(architecture, image, classes, smallest, dropout, kernel_size)
    if params is not None:
        settings = settings._replace(alpha=_nearest_alpha(architecture, settings, params))
    device = torch.empty(0).device
    if device.type == "meta":
        return architecture.build(settings)
    memory.check(name, settings.alpha, architecture.count(settings))
    with torch.random.fork_rng(devices=[]) if seed is not None else nullcontext():
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        with torch.device("cpu"):
            network = architecture.build(settings)
    return network.to(device)


def parameter_count(
    name: str,
    image: Sequence[int] = (3, 32, 32),
    classes: int = 10,
    alpha: int = 1,
    *,
    kernel_size: int = 3,
) -> int:
    """The number of weights by formula, biases and BatchNorm excluded, as the paper counts.

    Exact for every image, odd sides and any number of channels included; nothing is built. The
    formulas stand in the file of each family. Arguments and errors as in `build`.
    """
    architecture = find(name)
    return architecture.count(_settings(architecture, image, classes, alpha, 0.0, kernel_size))


def _settings(
    architecture: Architecture,
    image: Sequence[int],
    classes: int,
    alpha: int,
    dropout: float,
    kernel_size: int,
) -> Settings:
    """The arguments, checked."""
    if len(image) != 3:
        raise InvalidArgument(f"image is {image!r}: give (channels, height, width)")
    channels, height, width = (
        _integer(f"image {side}", size)
        for side, size in zip(("channels", "height", "width"), image, strict=True)
    )
    if not 0 <= dropout < 1:
        raise InvalidArgument(f"dropout is {dropout!r}: it must be at least 0 and below 1")
    if _integer("kernel_size", kernel_size) % 2 == 0:
        raise InvalidArgument(f"kernel_size is {kernel_size}: it must be odd")
    if kernel_size != 3 and not architecture.any_kernel_size:
        raise InvalidArgument(
            f"kernel_size is {kernel_size}, but {architecture.name} fixes its kernels: "
            "leave it out, or choose resnet18"
        )
    # Farther from a kernel's middle than the image is wide there is nothing but padding.
    largest = max(3, 2 * max(height, width) - 1)
    if kernel_size > largest:
        raise InvalidArgument(
            f"kernel_size is {kernel_size}: for images of {height}×{width} it must be at most"
            f" {largest}; the outer weights of a larger kernel would meet padding only"
        )
    return Settings(
        image=(channels, height, width),
        classes=_integer("classes", classes),
        alpha=_integer("alpha", alpha),
        dropout=dropout,
        kernel_size=kernel_size,
    )


def _integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise InvalidArgument(f"{name} is {value!r}: it must be an integer of at least 1")
    return int(value)


def _nearest_alpha(architecture: Architecture, settings: Settings, params: float) -> int:
    """The alpha whose count of weights is nearest to the budget."""

    def count(alpha: int) -> int:
        return architecture.count(settings._replace(alpha=alpha))

    if not math.isfinite(params):
        raise InvalidArgument(f"params is {params!r}: give a finite number of weights, 25.6e6 say")
    smallest = count(1)
    if params < smallest:
        raise InvalidArgument(
            f"params is {params!r}: the smallest {architecture.name} for this image and these "
            f"classes (alpha 1) has {smallest:,} weights"
        )
    below, above = 1, 2
    while count(above) <= params:
        below, above = above, 2 * above
    while above - below > 1:  # count(below) <= params < count(above)
        middle = (below + above) // 2
        if count(middle) <= params:
            below = middle
        else:
            above = middle
    return below if params - count(below) <= count(above) - params else above
