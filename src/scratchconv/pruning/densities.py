"""How many weights each layer may keep, so that all together keep exactly as many as asked for.

- `uniform`: the same density everywhere. Evci 2020 (§3, "Sparsity Distribution") leaves the first
  layer dense; here it is pruned too, for in S-FC it holds most of the weights, and its sparsity is
  the question.
- `erdos-renyi`: a density in proportion to (Σ of the sides of the weight) / (their product), at
  most 1. For a dense layer that is ε(n_in + n_out)/(n_in·n_out) (Mocanu 2018, equation 1), for a
  convolution the Erdős–Rényi-Kernel of Evci 2020, §3. Small layers, such as classifiers, become
  dense first; the ε of the others then follows from what is left.

Biases and normalisation are never pruned, and not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Literal, get_args

from scratchconv.errors import InvalidArgument, unknown_name

Distribution = Literal["erdos-renyi", "uniform"]


def kept_in_all(density: float, size: int) -> int:
    """The number of `size` weights that are left at this density: the nearest whole number.

    Raises:
        InvalidArgument: the density is not in (0, 1], or so small that no weight is left.
    """
    if not 0 < density <= 1:
        raise InvalidArgument(f"density is {density:g}: it must be above 0 and at most 1")
    kept = round(density * size)
    if kept == 0:
        raise InvalidArgument(
            f"density is {density:g}: it leaves none of {size} weights; "
            f"give at least {1 / size:.2g}"
        )
    return kept


def layer_counts(
    shapes: Mapping[str, tuple[int, ...]],
    total: int,
    distribution: Distribution,
    present: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """The weights that each layer keeps: `total` in all, to the weight.

    Whole numbers come by largest remainders; of equal ones the earlier layer gains. By themselves
    these can give a layer more when all layers together get less; no layer gets more than what is
    `present`.

    Args:
        shapes: the shape of each layer's weight by name.
        total: weights to keep in all.
        distribution: how densities vary between layers, see above.
        present: weights that each layer has, by the counts for a larger total; None means all.

    Raises:
        InvalidArgument: an unknown distribution, a total that is more than there are weights, one
            so small that a layer keeps none (through which nothing could pass), or one that a
            layer has fewer weights `present` for than its share.
    """
    if distribution not in get_args(Distribution):
        raise unknown_name("distribution", distribution, get_args(Distribution))
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    if not 0 <= total <= sum(sizes.values()):
        raise InvalidArgument(f"total is {total}: there are {sum(sizes.values())} weights")
    parts = sizes if distribution == "uniform" else {n: sum(s) for n, s in shapes.items()}
    shares = _shares(parts, sizes, total)
    present = sizes if present is None else present
    short = [name for name, share in shares.items() if math.floor(share) > present[name]]
    if short or total > sum(present.values()):
        raise InvalidArgument(
            f"{total} weights in all ({distribution}) are more than are present"
            f"{f' in {short[0]}' if short else ''}: give a smaller total"
        )
    counts = _whole(shares, total, present)
    if empty := [name for name, count in counts.items() if count == 0]:
        raise InvalidArgument(
            f"{total} weights in all leave none to {', '.join(empty)} ({distribution}): "
            "give a larger density"
        )
    return counts


def _shares(parts: Mapping[str, int], sizes: Mapping[str, int], total: int) -> dict[str, Fraction]:
    """`total` divided in proportion to `parts`, but no layer gets more than its size."""
    full: set[str] = set()
    while True:
        rest = total - sum(sizes[name] for name in full)
        scale = Fraction(rest, sum(part for name, part in parts.items() if name not in full) or 1)
        beyond = {n for n, part in parts.items() if n not in full and scale * part > sizes[n]}
        if not beyond:
            return {
                name: Fraction(sizes[name]) if name in full else scale * part
                for name, part in parts.items()
            }
        full |= beyond


def _whole(
    shares: Mapping[str, Fraction], total: int, present: Mapping[str, int]
) -> dict[str, int]:
    counts = {name: math.floor(share) for name, share in shares.items()}
    by_remainder = sorted(shares, key=lambda name: counts[name] - shares[name])
    while sum(counts.values()) < total:
        with_room = [name for name in by_remainder if counts[name] < present[name]]
        for name in with_room[: total - sum(counts.values())]:
            counts[name] += 1
    return counts
