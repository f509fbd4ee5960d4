"""The form of a layer's weight on a GPU: dense, its gradient and update in one Triton kernel."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from scratchconv.kernels.gpu.fused_update import fused_update
from scratchconv.sparse.weight import MasterWeight, Rule


class GpuWeight(MasterWeight):
    """All weights, on a GPU. Nothing here makes the host wait for the device."""

    def __init__(self, parameter: nn.Parameter) -> None:
        """`parameter`: contiguous."""
        super().__init__(parameter)
        theta = parameter.detach()
        # η, λ and βλ, and what was last written there.
        self._options = theta.new_empty(3)
        self._written: Rule | None = None
        self._counts = theta.new_empty(len(theta), dtype=torch.int32)
        self._counted_at = (-1, 0)

    @property
    def nonzero(self) -> Tensor:
        """How many weights are not zero: int64 (), on the device."""
        return self._counted().sum()

    def outputs(self, inputs: Tensor, bias: Tensor | None, *, training: bool = True) -> Tensor:
        """Y = W X + b (units, samples) from X (features, samples)."""
        sums = torch.mm(self._operand(inputs.dtype, training), inputs)
        return sums if bias is None else sums.add_(bias[:, None])

    def update(self, inputs: Tensor, gradient: Tensor, rule: Rule) -> None:
        copy = self._operand(inputs.dtype) if inputs.dtype == torch.bfloat16 else None
        self._copy = copy
        self._write(rule)
        fused_update(
            self.parameter.detach(),
            gradient.t(),
            inputs.t(),
            self._options,
            copy=copy,
            counts=self._counts,
        )
        increment_version(self.parameter)
        self._copied = self._counted_at = self._present()

    def nonzero_per_unit(self) -> Tensor:
        return self._counted().long()

    def _counted(self) -> Tensor:
        """The non-zeros of each unit, int32: counted by the update, unless others wrote since."""
        if self._counted_at != self._present():
            self._counts.copy_(torch.count_nonzero(self.parameter.detach(), dim=1))
            self._counted_at = self._present()
        return self._counts

    def _write(self, rule: Rule) -> None:
        """Put `rule` where the kernel reads it; as a rule only η is another than before."""
        for place, number in enumerate(rule):
            if self._written is None or number != self._written[place]:
                self._options[place].fill_(number)
        self._written = rule
