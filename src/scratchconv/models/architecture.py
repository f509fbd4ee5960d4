"""`Architecture`: what is known of a network that can be built by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from scratchconv.models.network import Network, Settings


class Architecture(NamedTuple):
    """One network of `models.NAMES`.

    Attributes:
        name: what it is built by.
        build: makes the network.
        count: its number of weights from a formula, without building it; grows with `alpha`.
        any_kernel_size: whether `kernel_size` is open.
    """

    name: str
    build: Callable[[Settings], Network]
    count: Callable[[Settings], int]
    any_kernel_size: bool = False
