"""Independent random streams, each fixed by its purpose and the numbers that name it."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch

from scratchconv.errors import InvalidArgument


class Purpose(IntEnum):
    """What a stream is for, so that one seed never serves two purposes with the same numbers."""

    VALIDATION = 1
    PIXELS = 2
    TREE = 3
    ORDER = 4
    AUGMENTATION = 5


def stream(purpose: Purpose, *key: int) -> torch.Generator:
    """A CPU generator that depends on `purpose` and `key` alone.

    Always on the CPU, so that every device sees the same numbers. One purpose always takes keys of
    the same length. Raises InvalidArgument for negative numbers.
    """
    if min(key) < 0:
        raise InvalidArgument(f"seed {min(key)} must be 0 or more")
    # SeedSequence hashes the whole key: sums such as seed + epoch would make runs share streams.
    seed = np.random.SeedSequence((int(purpose), *key)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed))
