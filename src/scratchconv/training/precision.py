"""The arithmetic of a run: mixed precision where the hardware is faster with it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from scratchconv.errors import InvalidArgument

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

# Below this many weights the casts cost more than the faster products save (measured on two
# AVX-512 cores with the networks of this package at batch 512).
_WORTH_CASTING = 500_000


def resolve_device(name: str) -> torch.device:
    """The device named by ``--device``; ``auto`` is a GPU where there is one.

    Raises ``InvalidArgument`` for a device that does not exist here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        here = ", ".join(["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        reason = str(error).splitlines()[0]
        raise InvalidArgument(f"--device {name}: {reason}; here there is {here}") from None
    if device.type not in ("cpu", "cuda"):
        raise InvalidArgument(f"--device {name}: training runs on cpu or cuda")
    return device


def resolve_precision(name: str, device: torch.device, weights: int) -> str:
    """``fp32``, ``bf16`` or ``fp16``; ``auto`` takes bf16 where the hardware multiplies in it.

    The rule looks at the hardware and the size alone, never at a clock, so that a seed gives the
    same result twice on one machine. Raises ``InvalidArgument`` for fp16 on a CPU.
    """
    if name == "fp16" and device.type == "cpu":
        raise InvalidArgument("--precision fp16 needs a GPU; on a CPU choose bf16 or fp32")
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if _cpu_multiplies_bf16() and weights >= _WORTH_CASTING else "fp32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which the forward pass runs; BatchNorm and the loss stay fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[precision])


def gradient_scaler(precision: str, device: torch.device) -> torch.amp.GradScaler:
    """Loss scaling, which only fp16 needs; otherwise it passes everything through."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")


def _cpu_multiplies_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
