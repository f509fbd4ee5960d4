"""The least time a dense training step can take: its operations and bytes over a GPU's rates.

Counted are the linear layers of a network trained with the weight gradient fused with the update
(`kernels/gpu/fused_update.py`), as if activations never left the caches. A sparse step does less,
and may take less time than this.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Rates:
    """What a GPU does a second: bytes from and to its memory, and operations of its products."""

    bandwidth: float
    operations: dict[str, float]


# From NVIDIA's data sheets, without sparsity; fp32 is that of the ordinary cores.
_DATA_SHEETS = {
    "H200": Rates(4.8e12, {"bf16": 989e12, "fp16": 989e12, "fp32": 67e12}),
    "H100 80GB HBM3": Rates(3.35e12, {"bf16": 989e12, "fp16": 989e12, "fp32": 67e12}),
    "A100-SXM4-80GB": Rates(2.039e12, {"bf16": 312e12, "fp16": 312e12, "fp32": 19.5e12}),
}


def rates_of(gpu: str | None) -> Rates | None:
    """The rates of the GPU that the driver calls `gpu`; None where they are not known here."""
    known = [rates for name, rates in _DATA_SHEETS.items() if gpu is not None and name in gpu]
    return known[0] if known else None


@dataclass(frozen=True)
class Work:
    """What one step cannot do without: additions and multiplications, and bytes moved."""

    operations: int
    bytes: int

    def seconds(self, rates: Rates, precision: str) -> dict[str, float]:
        """The least time by `bytes`, and by `operations`; a step takes at least the larger."""
        return {
            "bytes": self.bytes / rates.bandwidth,
            "operations": self.operations / rates.operations[precision],
        }


def work_of_step(model: nn.Module, batch_size: int, precision: str) -> Work:
    """The work of a dense step of `model`, which may lie on the meta device.

    Every weight is multiplied with every sample in the forward pass and in the weight gradient,
    and behind the first layer in the input gradient. Every pass reads the weights in `precision`;
    the update reads and writes the fp32 weight and, in half precision, writes its rounded copy.
    """
    weights = [layer.weight.numel() for layer in model.modules() if isinstance(layer, nn.Linear)]
    first, total = weights[0], sum(weights)
    read = 4 if precision == "fp32" else 2
    copied = 0 if precision == "fp32" else 2
    return Work(
        operations=2 * batch_size * (3 * total - first),
        bytes=read * (2 * total - first) + (8 + copied) * total,
    )
