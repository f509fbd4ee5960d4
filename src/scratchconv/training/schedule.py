"""The learning rate of every step, and λ carried from one run length to another."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType


def cosine(step: int, steps: int, lr: float) -> float:
    """The learning rate of `step` (0 … steps−1) when annealed from `lr` to zero.

    Neyshabur 2020, appendix: "cosine annealing"; the paper does not say whether by epoch or by
    step. A function of the step alone has no state to save, so that a resumed run cannot differ.
    """
    return lr * 0.5 * (1.0 + math.cos(math.pi * step / steps))


def constant(step: int, steps: int, lr: float) -> float:
    """The same learning rate at every step (Zhang 2021, §3.4)."""
    return lr


def halfway(step: int, steps: int, lr: float) -> float:
    """`lr`, and a tenth of it once half of the steps are done (Zhang 2021, §2.4)."""
    return lr if 2 * step < steps else lr / 10


SCHEDULES: Mapping[str, Callable[[int, int, float], float]] = MappingProxyType(
    {"cosine": cosine, "constant": constant, "step": halfway}
)


# Ση of so many steps from a rate of 1, which need not be gone through: they may be billions.
_SUMS: Mapping[str, Callable[[int], float]] = MappingProxyType(
    {
        "cosine": lambda steps: (steps + 1) / 2,  # cosines of t and T−t cancel out, but the first
        "constant": float,
        "step": lambda steps: (steps + 1) // 2 + (steps // 2) / 10,
    }
)


def sum_of_rates(steps: int, lr: float, schedule: str = "cosine") -> float:
    """Ση over a whole run: what λ is multiplied by when it shrinks a weight from start to end."""
    rate = SCHEDULES[schedule]
    return math.fsum(rate(step, steps, lr) for step in range(steps))


def lam_for_length(lam: float, *, chosen_for: int, steps: int, schedule: str = "cosine") -> float:
    """λ for a run of `steps` that keeps the λ·Ση of the one it was `chosen_for` (in steps).

    Both runs follow `schedule`, a name of `SCHEDULES`.

    A weight without gradient is shrunk by λ·Ση in all, so a shorter run needs a larger λ. But the
    threshold βλ grows along with λ while the weights do not, so a shorter run is cut harder than
    the original. Measured on S-FC: a λ carried to a quarter of the length killed half the units,
    where twice the λ, not four times, was right (docs/lambda.md). Use it for lengths that are
    near, and as an upper end for the search otherwise.
    """
    total = _SUMS[schedule]
    return lam * total(chosen_for) / total(steps)
