"""LASSO by proximal gradient steps (ISTA): exact zeros from a soft threshold, as a rival method."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

from scratchconv.errors import InvalidArgument
from scratchconv.optim.checks import compute_dtype, group_options, nonnegative, with_gradients

_OPTIONS = ("lr", "lam")


class ProximalLasso(torch.optim.Optimizer):
    """SGD with a soft threshold: θ ← θ − ηg, then |θ| shrinks by ηλ, to 0 at the least.

    Beck & Teboulle 2009, §1.1. Unlike β-LASSO's threshold, ηλ falls with the learning rate. Groups
    with λ = 0 are plain SGD, bit for bit torch.optim.SGD without momentum.

    Args:
        params: parameters, or groups of them with their own `lr` and `lam` (see `param_groups`).
        lr: learning rate η (a number or a tensor with one element).
        lam: λ, the strength of the L1 penalty.

    Raises:
        InvalidArgument: a negative or infinite option, a parameter that is not real floating point,
            or a sparse gradient (at `step`).
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]],
        lr: float | Tensor = 0.1,
        lam: float = 0.0,
    ) -> None:
        nonnegative("lr", lr)
        nonnegative("lam", lam)
        super().__init__(params, {"lr": lr, "lam": lam})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, with its own `lr` and `lam` where given."""
        super().add_param_group(param_group)
        try:
            group_options(self.param_groups[-1], _OPTIONS)
        except InvalidArgument:
            self.param_groups.pop()
            raise

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every parameter that has a gradient; `closure` recomputes and returns the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters, gradients = with_gradients(group["params"])
            lr, lam = (float(group[name]) for name in _OPTIONS)
            if not parameters:
                continue
            if lam == 0:
                torch._foreach_add_(parameters, gradients, alpha=-lr)
            else:
                _update(parameters, gradients, lr, lr * lam)
        return loss


def _update(parameters: list[Tensor], gradients: list[Tensor], lr: float, threshold: float) -> None:
    thetas = [parameter.to(compute_dtype(parameter.dtype)) for parameter in parameters]
    wide = [g.to(theta.dtype) for g, theta in zip(gradients, thetas, strict=True)]
    torch._foreach_sub_(thetas, torch._foreach_mul(wide, lr))
    within = torch._foreach_clamp_min(thetas, -threshold)
    torch._foreach_clamp_max_(within, threshold)
    torch._foreach_sub_(thetas, within)
    for parameter, theta in zip(parameters, thetas, strict=True):
        if parameter is not theta:
            parameter.copy_(theta)
