"""The β-LASSO update in one pass over memory: read θ and g, write θ (Neyshabur 2020, Algorithm 1).

Every kernel works in place on one-dimensional contiguous arrays. With s = λ sign θ it computes
d = g + s, p = ηd, θ − p, each rounded to the nearest float32, then writes 0 where |θ − p| is below
`threshold` (βλ). NaN is below nothing, so it stays NaN. The twins below do the same in plain
numpy, and the results are the same bit for bit.

bfloat16 arrays are passed as their uint16 bit patterns: they are widened to float32 (exactly),
updated, and rounded once, to the nearest with ties to even.
"""

from __future__ import annotations

import numpy as np
from numba import prange
from numpy.typing import NDArray

from scratchconv.kernels.bfloat16 import rounded, widened
from scratchconv.kernels.compilation import compiled, compiled_inline

Float32Array = NDArray[np.float32]
BFloat16Bits = NDArray[np.uint16]


def update_float32_plain(
    theta: Float32Array,
    gradient: Float32Array,
    lr: np.float32,
    lam: np.float32,
    threshold: np.float32,
) -> None:
    """Plain twin of `update_float32`."""
    sign = np.where(theta > 0, np.float32(1), np.where(theta < 0, np.float32(-1), np.float32(0)))
    after = theta - lr * (gradient + lam * sign)
    theta[:] = np.where(np.abs(after) < threshold, np.float32(0), after)


@compiled_inline
def moved(
    theta: np.float32,
    slope: np.float32,
    lr: np.float32,
    lam: np.float32,
    threshold: np.float32,
) -> np.float32:
    """In kernels: one weight after one step of Algorithm 1, `slope` its gradient."""
    zero = np.float32(0)
    shrink = lam if theta > zero else (-lam if theta < zero else zero)
    result: np.float32 = theta - lr * (slope + shrink)
    return zero if abs(result) < threshold else result


@compiled
def update_float32(
    theta: Float32Array,
    gradient: Float32Array,
    lr: np.float32,
    lam: np.float32,
    threshold: np.float32,
) -> None:
    """One step of Algorithm 1 on the float32 array `theta`, in place."""
    for i in prange(theta.size):
        theta[i] = moved(theta[i], gradient[i], lr, lam, threshold)


def update_bfloat16_plain(
    theta: BFloat16Bits,
    gradient: BFloat16Bits,
    lr: np.float32,
    lam: np.float32,
    threshold: np.float32,
) -> None:
    """Plain twin of `update_bfloat16`."""
    wide = (theta.astype(np.uint32) << 16).view(np.float32)
    update_float32_plain(
        wide, (gradient.astype(np.uint32) << 16).view(np.float32), lr, lam, threshold
    )
    bits = wide.view(np.uint32)
    nearest = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    theta[:] = np.where(np.isnan(wide), 0x7FC0, nearest)


@compiled
def update_bfloat16(
    theta: BFloat16Bits,
    gradient: BFloat16Bits,
    lr: np.float32,
    lam: np.float32,
    threshold: np.float32,
) -> None:
    """One step of Algorithm 1 on the bfloat16 array with the bit patterns `theta`, in place."""
    for i in prange(theta.size):
        theta[i] = rounded(moved(widened(theta[i]), widened(gradient[i]), lr, lam, threshold))
