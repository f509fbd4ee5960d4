"""The strongest dense training step that torch has on this machine: every variant is timed.

The variants differ in arithmetic (`highest` and `medium` fp32, bf16 autocast, bf16 weights beside
fp32 masters), in what is compiled, in the update, and in whether activations lie feature by
feature. The fastest one is the baseline.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scratchconv.bench import compilation
from scratchconv.bench.contender import (
    BFLOAT16_TOLERANCE,
    FLOAT32_TOLERANCE,
    Contender,
    Entry,
)
from scratchconv.bench.rule import LAYERS, Rule, groups
from scratchconv.models import Network
from scratchconv.optim import BetaLasso

Arithmetic = Literal["fp32", "fp32 medium", "bf16 autocast", "bf16 weights"]
Update = Literal["foreach", "compiled", "fused"]


@dataclass(frozen=True)
class Variant:
    """One dense step. `feature_major`: activations are stored unit by unit, not sample by sample.

    `fused` is this package's own `BetaLasso`, without the engine; it counts as a baseline too.
    """

    arithmetic: Arithmetic
    update: Update
    compiled_model: bool = False
    feature_major: bool = False

    @property
    def name(self) -> str:
        model = "compiled model" if self.compiled_model else "eager model"
        update = "BetaLasso's fused update" if self.update == "fused" else f"{self.update} update"
        layout = ", feature-major" if self.feature_major else ""
        return f"{self.arithmetic}, {model}, {update}{layout}"

    @property
    def compiles(self) -> bool:
        return self.compiled_model or self.update == "compiled"


VARIANTS = (
    Variant("fp32", "foreach"),
    Variant("fp32 medium", "foreach"),
    Variant("fp32 medium", "compiled", compiled_model=True),
    Variant("bf16 autocast", "foreach"),
    Variant("bf16 autocast", "fused"),
    Variant("bf16 autocast", "compiled"),
    Variant("bf16 autocast", "fused", compiled_model=True),
    Variant("bf16 autocast", "compiled", compiled_model=True),
    Variant("bf16 autocast", "compiled", compiled_model=True, feature_major=True),
    Variant("bf16 weights", "foreach"),
    Variant("bf16 weights", "compiled"),
    Variant("bf16 weights", "compiled", compiled_model=True),
    Variant("bf16 weights", "compiled", compiled_model=True, feature_major=True),
)


def entries(*, skip_compile: bool = False) -> list[Entry]:
    """All variants; those that need torch.compile say why not where it cannot be had."""
    without = "left out: --skip-compile" if skip_compile else compilation.why_not()
    return [
        Entry(
            variant.name,
            partial(DenseStep, variant=variant),
            FLOAT32_TOLERANCE if variant.arithmetic == "fp32" else BFLOAT16_TOLERANCE,
            unavailable=without if variant.compiles else None,
        )
        for variant in VARIANTS
    ]


class DenseStep(Contender):
    """One variant at work."""

    def __init__(self, model: Network, rule: Rule, *, variant: Variant) -> None:
        self.model, self._variant = model, variant
        self.precision = "bf16" if variant.arithmetic.startswith("bf16") else "fp32"
        if variant.feature_major:
            for name in LAYERS:
                setattr(model, name, _FeatureMajorLinear(model.get_submodule(name)))
        self._masters = _masters(model, variant.arithmetic == "bf16 weights")
        self._forward: nn.Module = model
        if variant.compiled_model:
            self._forward = compilation.compiled(model)
        if variant.update == "fused":
            self._fused = BetaLasso(groups(model, rule), lr=rule.lr, beta=rule.beta, fused=None)
        else:
            self._update = _Update(model, self._masters, rule, variant.update == "compiled")

    def step(self, inputs: Tensor, targets: Tensor) -> None:
        autocast = self.precision == "bf16"
        with _matmul_precision(medium=self._variant.arithmetic == "fp32 medium"):
            self.model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
                outputs = self._forward(inputs)
            F.cross_entropy(outputs.float(), targets).backward()
            if self._variant.update == "fused":
                self._fused.step()
            else:
                self._update()

    def set_lr(self, lr: float) -> None:
        if self._variant.update == "fused":
            for group in self._fused.param_groups:
                group["lr"] = lr
        else:
            self._update.lr.fill_(lr)

    def weights(self) -> dict[str, Tensor]:
        return {name: self._masters[f"{name}.weight"].detach().clone() for name in LAYERS}


class _FeatureMajorLinear(nn.Module):
    """A linear layer whose output is stored unit by unit: (n, units), its transpose contiguous."""

    def __init__(self, linear: Any) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = torch.mm(self.weight, inputs.t()).t()
        return outputs if self.bias is None else outputs + self.bias


def _masters(model: Network, bfloat16_weights: bool) -> dict[str, nn.Parameter | Tensor]:
    """The fp32 parameters by name; where asked for, the model goes on with bf16 weights instead."""
    masters: dict[str, nn.Parameter | Tensor] = dict(model.named_parameters())
    if bfloat16_weights:
        for name in LAYERS:
            parameter = model.get_submodule(name).get_parameter("weight")
            masters[f"{name}.weight"] = parameter.detach().clone()
            parameter.data = parameter.data.bfloat16()
    return masters


class _Update:
    """Algorithm 1 by torch's foreach operations, eager or compiled to one pass over memory."""

    def __init__(
        self,
        model: Network,
        masters: dict[str, nn.Parameter | Tensor],
        rule: Rule,
        compiled: bool,
    ) -> None:
        lams = {id(p): group["lam"] for group in groups(model, rule) for p in group["params"]}
        named = dict(model.named_parameters())
        self._parameters = list(named.values())
        self._masters = [masters[name].detach() for name in named]
        self._copies = [
            parameter.detach() if parameter.dtype == torch.bfloat16 else None
            for parameter in self._parameters
        ]
        # As tensors, so that other settings need no other compilation.
        self.lr = torch.tensor(rule.lr)
        self._lams = [torch.tensor(float(lams[id(p)])) for p in self._parameters]
        self._thresholds = [lam * rule.beta for lam in self._lams]
        self._step = compilation.compiled(_one_pass) if compiled else _foreach

    def __call__(self) -> None:
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        with torch.no_grad():
            self._step(
                self._masters, gradients, self._copies, self.lr, self._lams, self._thresholds
            )


def _one_pass(
    masters: list[Tensor],
    gradients: list[Tensor],
    copies: list[Tensor | None],
    lr: Tensor,
    lams: list[Tensor],
    thresholds: list[Tensor],
) -> None:
    """What the compiler fuses: reads θ and g once, writes θ (and its bf16 copy) once."""
    for theta, gradient, copy, lam, threshold in zip(
        masters, gradients, copies, lams, thresholds, strict=True
    ):
        moved = theta - lr * (gradient.float() + lam * torch.sign(theta))
        moved = torch.where(moved.abs() < threshold, 0.0, moved)
        theta.copy_(moved)
        if copy is not None:
            copy.copy_(moved)


def _foreach(
    masters: list[Tensor],
    gradients: list[Tensor],
    copies: list[Tensor | None],
    lr: Tensor,
    lams: list[Tensor],
    thresholds: list[Tensor],
) -> None:
    steps = list(torch._foreach_sign(masters))
    torch._foreach_mul_(steps, lams)
    torch._foreach_add_(steps, gradients)
    torch._foreach_mul_(steps, lr)
    torch._foreach_sub_(masters, steps)
    for theta, copy, threshold in zip(masters, copies, thresholds, strict=True):
        theta.masked_fill_(theta.abs() < threshold, 0.0)
        if copy is not None:
            copy.copy_(theta)


@contextmanager
def _matmul_precision(*, medium: bool) -> Iterator[None]:
    """`torch.set_float32_matmul_precision("medium")` inside, and what was set before after it."""
    before = torch.get_float32_matmul_precision()
    if medium:
        torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        if medium:
            torch.set_float32_matmul_precision(before)
