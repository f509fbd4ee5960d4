"""β-LASSO (Neyshabur 2020, §4, Algorithm 1) as a torch optimizer.

θ ← θ − η(g + λ sign θ), then θ ← 0 where |θ| < βλ. Three paths compute the same numbers, bit for
bit in float32: a loop over tensors, torch's foreach operations, and one fused pass on the CPU.
`optim/reference.py` holds the update line by line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, overload

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from scratchconv.errors import InvalidArgument
from scratchconv.kernels import beta_lasso as kernels
from scratchconv.kernels.compilation import kernels_can_run, torch_threads
from scratchconv.optim.checks import compute_dtype, group_options, nonnegative, with_gradients
from scratchconv.optim.deferred import DeferredStep

_OPTIONS = ("lr", "lam", "beta")
_Path = Literal["plain", "foreach", "fused"]


class BetaLasso(torch.optim.Optimizer):
    """SGD that drives weights to exactly zero (Neyshabur 2020, Algorithm 1).

    A weight that is zero returns only when η|g| ≥ βλ. Regularise weights only: make the groups with
    `param_groups`, which sets λ = 0 for biases and normalisation; such groups are plain SGD, bit
    for bit torch.optim.SGD without momentum. Needs no state; the paper uses no momentum.

    Args:
        params: parameters, or groups of them with their own `lr`, `lam` and `beta`.
        lr: learning rate η (a number or a tensor with one element). The paper anneals it from 0.1.
        lam: λ, the strength of the shrinkage, in units of the gradient. No value fits all runs:
            what shrinks a weight in all is λ·Ση, so shorter runs need a larger one.
        beta: β; weights below βλ become 0. The paper uses 50; 0 is the plain LASSO subgradient.
        foreach: use torch's multi-tensor operations.
        fused: use one pass over memory on the CPU, for dense float32 or bfloat16 parameters; True
            elsewhere raises. With both left None: fused where it can be, foreach on CUDA, else a
            loop over tensors.

    Updates are computed in float32 (float64 for float64 parameters) and rounded once. Steps smaller
    than half a unit in the last place are lost: keep bfloat16 training's weights in float32.

    Raises:
        InvalidArgument: a negative or infinite option, a parameter that is not real floating point,
            a sparse gradient (at `step`), or a path that cannot be used.
    """

    @property
    def _step_supports_amp_scaling(self) -> bool:
        # With a GradScaler, gradients are unscaled before `step`: on the CPU its search for
        # infinities is a pass that unscales anyway, so unscaling again inside the kernel would
        # save nothing. Deferred gradients it cannot reach: `step` sees its scale, and refuses.
        return bool(self._deferred)

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]],
        lr: float | Tensor = 0.1,
        lam: float = 0.0,
        beta: float = 50.0,
        *,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        defaults = {"lr": lr, "lam": lam, "beta": beta, "foreach": foreach, "fused": fused}
        for name in _OPTIONS:
            nonnegative(name, defaults[name])  # type: ignore[arg-type]
        self._deferred: dict[Tensor, DeferredStep] = {}
        super().__init__(params, defaults)

    def __getstate__(self) -> dict[str, Any]:
        # Copied together with its model, an optimizer goes on with the copies of the owners.
        return {**super().__getstate__(), "_deferred": self._deferred}

    def defer(self, parameter: Tensor, owner: DeferredStep | None) -> None:
        """Let `owner` take the steps of `parameter`, which has no gradient; None takes it back."""
        if owner is None:
            self._deferred.pop(parameter, None)
        else:
            self._deferred[parameter] = owner

    def defers(self, parameter: Tensor) -> bool:
        """Whether another takes the steps of `parameter`."""
        return parameter in self._deferred

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        super().zero_grad(set_to_none)
        for owner in self._deferred.values():
            owner.forget()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, with its own `lr`, `lam` and `beta` where given."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            group_options(group, _OPTIONS)
            for parameter in group["params"]:
                _path(parameter, group["foreach"], group["fused"])
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
        if self._deferred:
            self._refuse_scaled()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if any(parameter.grad is not None for parameter in self._deferred):
            raise InvalidArgument(
                "the weight of a sparse layer has a gradient past the layer (a penalty on it, or"
                " another use in the forward pass), which its step does not know of: regularise"
                " by λ, or call Engine.to_dense() first; zero_grad() forgets that gradient"
            )
        for group in self.param_groups:
            parameters, gradients = with_gradients(group["params"])
            lr, lam, beta = (float(group[name]) for name in _OPTIONS)
            for parameter in group["params"]:
                if parameter in self._deferred:
                    self._deferred[parameter].step(lr, lam, beta)
            if not parameters:
                continue
            if lam == 0:
                torch._foreach_add_(parameters, gradients, alpha=-lr)
                continue
            paths = [_path(p, group["foreach"], group["fused"]) for p in parameters]
            for path, update in _UPDATES.items():
                chosen = [i for i, its_path in enumerate(paths) if its_path == path]
                if chosen:
                    update(
                        [parameters[i] for i in chosen],
                        [gradients[i] for i in chosen],
                        lr,
                        lam,
                        beta * lam,
                    )
        return loss

    def _refuse_scaled(self) -> None:
        """Raise InvalidArgument in a step that a GradScaler takes, also after its `unscale_`."""
        # It takes them away again itself only after a step that is taken.
        found = [self.__dict__.pop(name, None) for name in ("grad_scale", "found_inf")]
        if any(value is not None for value in found):
            raise InvalidArgument(
                "a GradScaler cannot reach the gradients of sparse layers, which are never formed:"
                " leave it out (bfloat16 needs none), or call Engine.to_dense() first"
            )


def _path(parameter: Tensor, foreach: bool | None, fused: bool | None) -> _Path:
    """The path that updates `parameter` under these settings."""
    if foreach and fused:
        raise InvalidArgument("foreach=True and fused=True exclude each other: choose one")
    if fused:
        if torch.compiler.is_compiling():
            raise InvalidArgument("torch.compile cannot trace fused=True: leave fused=None")
        if not kernels_can_run():
            raise InvalidArgument(
                "fused=True cannot run in a process forked from one that used it: "
                "leave fused=None, or start processes by spawn"
            )
        if not _fusable(parameter):
            raise InvalidArgument(
                "fused=True needs dense float32 or bfloat16 parameters on the CPU, not "
                f"{parameter.dtype} of shape {tuple(parameter.shape)} and strides "
                f"{parameter.stride()} on {parameter.device}: leave fused=None"
            )
        return "fused"
    if foreach:
        return "foreach"
    if foreach is None and fused is None:
        if not torch.compiler.is_compiling() and kernels_can_run() and _fusable(parameter):
            return "fused"
        if parameter.is_cuda and type(parameter) in (Tensor, torch.nn.Parameter):
            return "foreach"
    return "plain"


def _fusable(parameter: Tensor) -> bool:
    return (
        type(parameter) in (Tensor, torch.nn.Parameter)
        and parameter.device.type == "cpu"
        and parameter.dtype in (torch.float32, torch.bfloat16)
        and parameter.permute(_memory_order(parameter)).is_contiguous()
    )


def _memory_order(tensor: Tensor) -> list[int]:
    """The dimensions of `tensor` from the slowest to the fastest in memory."""
    if tensor.is_contiguous():
        return list(range(tensor.dim()))
    return sorted(range(tensor.dim()), key=tensor.stride, reverse=True)


def _plain_update(
    parameters: list[Tensor], gradients: list[Tensor], lr: float, lam: float, threshold: float
) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        theta = parameter.to(compute_dtype(parameter.dtype))
        theta = theta - (torch.sign(theta).mul_(lam).add_(gradient)).mul_(lr)
        parameter.copy_(theta.masked_fill_(theta.abs() < threshold, 0))


def _foreach_update(
    parameters: list[Tensor], gradients: list[Tensor], lr: float, lam: float, threshold: float
) -> None:
    thetas = [parameter.to(compute_dtype(parameter.dtype)) for parameter in parameters]
    steps = list(torch._foreach_sign(thetas))
    torch._foreach_mul_(steps, lam)
    torch._foreach_add_(steps, gradients)
    torch._foreach_mul_(steps, lr)
    torch._foreach_sub_(thetas, steps)
    for theta in thetas:
        number = np.float64 if theta.dtype == torch.float64 else np.float32
        # hardshrink also zeroes what equals its bound, so the bound is the number below βλ.
        below = np.nextafter(number(threshold), number(-1))
        if below >= 0:
            torch.hardshrink(theta, float(below), out=theta)
    for parameter, theta in zip(parameters, thetas, strict=True):
        if parameter is not theta:
            parameter.copy_(theta)


def _fused_update(
    parameters: list[Tensor], gradients: list[Tensor], lr: float, lam: float, threshold: float
) -> None:
    options = np.float32(lr), np.float32(lam), np.float32(threshold)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient.dtype != parameter.dtype:  # torch allows it; rare enough for the plain loop
            _plain_update([parameter], [gradient], lr, lam, threshold)
            continue
        order = _memory_order(parameter)
        theta = parameter.detach().permute(order).view(-1)
        slope = gradient.detach().permute(order).reshape(-1)
        with torch_threads(theta.numel()):
            if parameter.dtype == torch.bfloat16:
                kernels.update_bfloat16(
                    theta.view(torch.uint16).numpy(), slope.view(torch.uint16).numpy(), *options
                )
            else:
                kernels.update_float32(theta.numpy(), slope.numpy(), *options)
        # Writing through numpy is invisible to autograd, which must refuse a stale backward pass.
        increment_version(parameter)


_UPDATES: dict[_Path, Callable[[list[Tensor], list[Tensor], float, float, float], None]] = {
    "plain": _plain_update,
    "foreach": _foreach_update,
    "fused": _fused_update,
}
