"""The arithmetic of a run: mixed precision where the hardware is faster with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from scratchconv.errors import InvalidArgument, ScratchconvError, unknown_name

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

# Below this many weights the casts cost more than the faster products save (measured on two
# AVX-512 cores with the networks of this package at batch 512).
_WORTH_CASTING = 500_000


def resolve_device(name: str) -> torch.device:
    """The device named by `--device`; `auto` is a GPU where there is one.

    Raises `InvalidArgument` for a device that does not exist here.
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
    """`fp32`, `bf16` or `fp16`; `auto` takes bf16 where the hardware multiplies in it.

    The rule looks at the hardware and the size alone, never at a clock, so that a seed gives the
    same result twice on one machine. Raises `InvalidArgument` for fp16 on a CPU, and for a name
    that is none of these.
    """
    if name not in ("auto", "fp32", *_DTYPES):
        raise unknown_name("--precision", name, ("auto", "fp32", *_DTYPES))
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


@contextmanager
def subnormals_flushed() -> Iterator[None]:
    """Inside, numbers below 2⁻¹²⁶ count as zero, on all of torch's threads.

    Weights that shrink towards zero pass through them, and CPUs multiply them 8× slower. It is
    part of a run's arithmetic, so that a run gives the same from the command line and from Python.
    """
    before = bool(torch.tensor(2.0**-127).mul(1.0).view(torch.int32) == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@contextmanager
def memory_errors_in_words(device: str) -> Iterator[None]:
    """Inside, torch's failure to get memory becomes one line with the remedy."""
    try:
        yield
    except RuntimeError as error:
        # For main memory torch has no error of its own.
        if isinstance(error, torch.cuda.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
            raise ScratchconvError(
                f"the memory does not suffice on --device {device}:"
                " choose a smaller --batch-size, --alpha or --params, in a new --out"
            ) from error
        raise


def _cpu_multiplies_bf16() -> bool:
    # Releases of torch before this question could be asked: fp32, which is right everywhere.
    capabilities: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
