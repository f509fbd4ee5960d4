"""The step of β-LASSO on some rows of a dense weight, from a tile of its gradient.

A weight gradient that is never whole: a tile of it is computed, used while it lies in the cache and
forgotten. The same pass writes the bfloat16 copy that the next products read, and counts what is
left (Neyshabur 2020, Algorithm 1; `beta_lasso` has the arithmetic).
"""

from __future__ import annotations

import numpy as np
from numba import prange

from scratchconv.kernels.beta_lasso import moved, update_float32_plain
from scratchconv.kernels.bfloat16 import read, write
from scratchconv.kernels.compilation import compiled, torch_threads
from scratchconv.kernels.sparse_products import Activations, in_float32
from scratchconv.kernels.sparse_rows import Float32Array, Int64Array

_ZERO = np.float32(0)


def update_rows_plain(
    theta: Float32Array,
    copy: Activations,
    gradient: Activations,
    lr: np.float32,
    lam: np.float32,
    threshold: np.float32,
    nonzero: Int64Array,
) -> None:
    """Plain twin of `update_rows`, but for `copy`, which it leaves alone."""
    flat = theta.reshape(-1)
    update_float32_plain(flat, in_float32(gradient).reshape(-1), lr, lam, threshold)
    theta[:] = flat.reshape(theta.shape)
    nonzero[:] = np.count_nonzero(theta, axis=1)


def update_rows(
    theta: Float32Array,
    copy: Activations,
    gradient: Activations,
    lr: np.float32,
    lam: np.float32,
    threshold: np.float32,
    nonzero: Int64Array,
) -> None:
    """One step of Algorithm 1 on the rows `theta`, in place.

    Args:
        theta: float32 (rows, features), contiguous; changed.
        copy: uint16 (rows, features), receives `theta` as bfloat16; (0, 0) where none is wanted.
        gradient: float32 or bfloat16 patterns, (rows, features), contiguous.
        lr, lam, threshold: η, λ and βλ.
        nonzero: int64 (rows,), receives how many weights of each row are not zero.
    """
    with torch_threads(theta.size):
        _update_rows(theta, copy, gradient, lr, lam, threshold, nonzero)


@compiled
def _update_rows(
    thetas: Float32Array,
    copy: Activations,
    gradient: Activations,
    lr: np.float32,
    lam: np.float32,
    threshold: np.float32,
    nonzero: Int64Array,
) -> None:
    rows, features = thetas.shape
    copied = copy.shape[0] > 0
    for row in prange(rows):
        count = np.int32(0)
        for feature in range(features):
            slope = read(gradient, row, feature)
            theta = moved(thetas[row, feature], slope, lr, lam, threshold)
            thetas[row, feature] = theta
            count += np.int32(theta != _ZERO)
        if copied:
            for feature in range(features):
                write(copy, row, feature, thetas[row, feature])
        nonzero[row] = count
