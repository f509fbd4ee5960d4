"""Weights whose gradient is never formed: the optimizer asks their owner to take the step.

A module with such a weight has an attribute `defers_steps` that is true.
"""

from __future__ import annotations

from typing import Protocol


class DeferredStep(Protocol):
    """The owner of a parameter that knows its gradient in a form cheaper than a tensor."""

    def step(self, lr: float, lam: float, beta: float) -> None:
        """Apply the optimizer's update for the gradient gathered so far, and forget it."""

    def forget(self) -> None:
        """Forget the gradient gathered so far, as `zero_grad` does."""
