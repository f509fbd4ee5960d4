"""Choosing connections by their scores: exactly as many as asked for, the same every time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from scratchconv.errors import Collapse, InvalidArgument

# Keeps these streams apart from those of the data, whose first numbers are small.
_PRUNING = 1_000


def largest(scores: Tensor, count: int) -> Tensor:
    """Where the `count` largest of `scores` are: bool, of their shape and on their device.

    Of equal scores the earlier ones are taken, so that the choice depends on nothing but `scores`
    (`torch.topk` leaves it open).

    Raises:
        InvalidArgument: there are fewer than `count` scores.
        Collapse: a score is infinite or not a number.
    """
    flat = scores.flatten()
    if not 0 <= count <= flat.numel():
        raise InvalidArgument(f"count is {count}: there are {flat.numel()} scores to choose from")
    if count == 0:
        return torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
    if not bool(flat.isfinite().all()):
        raise Collapse(
            "connections cannot be chosen: a weight or a gradient is infinite or not a number. "
            "Lower the learning rate"
        )
    threshold = flat.kthvalue(flat.numel() - count + 1).values
    chosen = flat > threshold
    missing = count - int(torch.count_nonzero(chosen))
    chosen[(flat == threshold).nonzero().flatten()[:missing]] = True
    return chosen.view(scores.shape)


def largest_of_all(scores: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """As `largest`, but over several tensors that compete for the same `count`."""
    chosen = largest(torch.cat([score.flatten() for score in scores.values()]), count)
    parts = chosen.split([score.numel() for score in scores.values()])
    return {
        name: part.view(score.shape)
        for (name, score), part in zip(scores.items(), parts, strict=True)
    }


def random_scores(like: Tensor, seed: int, step: int, layer: int) -> Tensor:
    """Uniform scores in [0, 1), float32, of the shape and on the device of `like`.

    A function of the three numbers alone, so that a resumed run needs no state, and drawn on the
    CPU, so that every device sees the same.
    """
    key = np.random.SeedSequence((_PRUNING, seed, step, layer)).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(key))
    return torch.rand(like.shape, generator=generator, device="cpu").to(like.device)
