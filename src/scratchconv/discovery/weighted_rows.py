"""A table as a set of weighted rows: what is learned depends on nothing else.

Equal rows become one of their summed weight, rows of weight 0 go, and the rest are put into an
order of their own. So a row of weight 3 is the same as three equal rows, exactly, as scikit-learn
asks; the order of a table's rows does not matter; and no copy of a training row is held out.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scratchconv.errors import InvalidArgument

Floats = NDArray[np.float64]

_CHUNK = 4096  # rows at a time, so that no second copy of the table is made


def checked_weights(sample_weight: Any, samples: int) -> Floats:
    """float64 (samples,); ones for None, the same weight for all where one number is given.

    Raises InvalidArgument: another shape, or weights that are negative, infinite or all zero.
    """
    if sample_weight is None:
        return np.ones(samples)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.ndim == 0:
        weights = np.full(samples, weights)
    if weights.shape != (samples,):
        raise InvalidArgument(
            f"sample_weight has shape {weights.shape}: give one weight a row, ({samples},)"
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise InvalidArgument(
            "sample_weight must be finite and not negative:"
            f" it reaches from {weights.min()} to {weights.max()}"
        )
    if not weights.any():
        raise InvalidArgument("sample_weight is zero for every row: at least one must count")
    return weights


def distinct_rows(
    X: NDArray[Any], targets: NDArray[Any], weights: Floats
) -> tuple[NDArray[np.int64], Floats]:
    """The rows (m,) to keep, one of each (x, target) with a weight, and their summed weights (m,).

    X is (n, d), targets (n,) numbers. Rows are told apart by a hash of 128 bits, and put into the
    order of their hashes.
    """
    counted = np.flatnonzero(weights)
    hashes = bytearray()
    for start in range(0, len(counted), _CHUNK):
        rows = counted[start : start + _CHUNK]
        # As float64, whatever they are; adding 0 makes −0 of it 0.
        chunk = np.column_stack([X[rows], targets[rows]]).astype(np.float64) + 0.0
        for row in np.ascontiguousarray(chunk):
            hashes += blake2b(row, digest_size=16).digest()
    keys = np.frombuffer(bytes(hashes), dtype=[("high", ">u8"), ("low", ">u8")])
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    summed: Floats = np.bincount(which, weights=weights[counted]).astype(np.float64)
    return counted[first].astype(np.int64), summed
